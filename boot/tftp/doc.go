// Package tftp is the Trivial File Transfer Protocol: a server engine and a
// client. It follows RFC 1350 (the protocol), RFC 2347 (options), RFC 2348
// (blksize), RFC 2349 (timeout, tsize) and RFC 7440 (windowsize). It is for
// Linux alone, as boot/udp is.
//
// The appliance runs a [Server]; packages agent and pull use a [Client]. Others
// may import the package as a library. It owns sockets, packets,
// retransmission, limits and a cache of what was read. It never opens or
// creates a file: a Server asks Open and Uploads, a Client writes to a stream.
// It never tells a peer a path or a text of the operating system.
//
// Uploads are rare. Package upload stores them, and sends them as a client.
//
// # A download, as the server sees it
//
//	RRQ
//	 │ handleRequest: half-open, in a queue
//	 ▼
//	opening ──────── no such file, too many files ──────────► ERROR, ended
//	 │ opened
//	 ├─ options were granted ─► OACK sent ── timeout, 1+First times ─┐
//	 │                            │  ▲───────── OACK again ──────────┘
//	 │ none                       │ ACK 0
//	 ▼                            ▼
//	sending ◄─────────────────────┘
//	 │  ▲  ├─ chunk is not in memory ─► reading ─ it was read ───► sending
//	 │  │  └─ a burst has left ───────► paused ── timer ─────────► sending
//	 │  │ all of the window has left
//	 ▼  │
//	waiting
//	 ├─ ACK of the whole window ──► sending, the next window
//	 ├─ ACK at a gap ─────────────► sending, from the gap (RFC 7440 section 4)
//	 ├─ duplicate ACK ────────────► waiting for the grace, then sending again
//	 ├─ timeout, 1+Retries times ─► sending again, RTO doubled
//	 ├─ ACK of the last block ────► ended, whole
//	 └─ ERROR, closed port, silence, server stops ─► ended
//
// The first ACK establishes the transfer: from there it counts against the
// limits. A half-open one may give way to others at any time, without a word.
//
// # Files
//
// client_*.go is the client, server_*.go the server. In the rest is what both
// share: packets, options, errors, timing.
package tftp
