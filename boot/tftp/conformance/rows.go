package conformance

import (
	"slices"
	"strings"
)

// Rows are the behaviours. RFC 1350 and its extensions demand them of a server,
// or firmware and strangers make it need them.
func Rows() []Row {
	list := slices.Clone(rows)
	for i := range list {
		if rest, ok := strings.CutPrefix(list[i].Name, "… "); ok {
			list[i].Name = stem(i) + ", " + rest
		}
	}
	return list
}

// stem is the name of the row that a name with an ellipsis goes on from.
func stem(i int) string {
	for strings.HasPrefix(rows[i].Name, "… ") {
		i--
	}
	return rows[i].Name
}

var rows = []Row{
	{Name: "answers leave from the address asked, of two: IPv4", Source: "1123 §2.3", cables: true, check: from(Near4, Far4, far4b)},
	{Name: "answers leave from the address asked, of two: IPv6", Source: "1123 §2.3", cables: true, check: from(near6, far6, far6b)},
	{Name: "answers leave from the link-local address asked", Source: "1123 §2.3", cables: true, check: linkLocal(0)},
	{Name: "answers leave from the link-local address asked, which two links have", Source: "1123 §2.3", cables: true, check: linkLocal(1)},
	{Name: "answers leave by the link asked, where the client's route names another", Source: "1122 §3.3.4.2", cables: true, check: secondLink},
	{Name: "a refusal leaves from the address asked, of two: IPv4", Source: "1123 §2.3", cables: true, check: refusalFrom(Near4, Far4, far4b)},
	{Name: "a refusal leaves from the address asked, of two: IPv6", Source: "1123 §2.3", cables: true, check: refusalFrom(near6, far6, far6b)},
	{Name: "a transfer has a port of its own, not 69", Source: "1350 §4", check: ownPort},
	{Name: "a request to a broadcast or multicast address is ignored", Source: "1123 §4.2.3.5", cables: true, check: broadcast},

	{Name: "octet: 1 MiB in blocks of 512 is whole", Source: "1350 §2", check: whole("mib"), All: true},
	{Name: "a request without options gets DATA 1, and blocks of 512", Source: "1350 §4, 2347", check: noOptions, All: true},
	{Name: "the mode is read in any case", Source: "1350 §5", check: modeCase},
	{Name: "netascii: LF is sent as CR LF, CR as CR NUL", Source: "1350 §1, 764", check: netascii()},
	{Name: "… also where a block ends between the two", Source: "1350 §1, 764", check: netascii("blksize", "9")},
	{Name: "mode mail is refused", Source: "1123 §4.2.2.1", check: refusedMode("mail")},
	{Name: "a mode that does not exist is refused", Source: "1350 §5", check: refusedMode("binary8")},
	{Name: "an empty file is one empty DATA", Source: "1350 §6", check: empty()},
	{Name: "… after an OACK", Source: "1350 §6, 2347", check: empty("tsize", "0")},
	{Name: "a file of whole blocks ends with an empty DATA", Source: "1350 §6", check: exact},
	{Name: "two transfers of one host at once", Source: "1350 §4", check: interleaved, All: true},
	{Name: "block numbers roll over to 0", Source: "1350 §2", check: rollover("blksize", "8")},
	{Name: "… within a window of 64", Source: "1350 §2, 7440", check: windowed(rollover("blksize", "8", "windowsize", "64"))},
	{Name: "the last block is sent again until it is acknowledged", Source: "1350 §6", check: lastAgain},
	{Name: "a transfer that has ended is silent", Source: "1350 §6", check: endSilent},
	{Name: "the client's ERROR ends it", Source: "1350 §7", check: clientError},

	{Name: "each ACK twice: no block comes twice", Source: "1123 §4.2.3.1", check: timed(chatty(func(n int64) []int64 { return []int64{n} }))},
	{Name: "an ACK of a block not sent yet brings nothing", Source: "1350 §2", check: timed(chatty(func(n int64) []int64 { return []int64{n + 1, n + 5} }))},
	{Name: "an ACK of long ago brings nothing", Source: "1350 §2", check: timed(chatty(func(n int64) []int64 { return []int64{n - 1, n - 3, n - 10} }))},
	{Name: "a lost block is sent again within a second on a fast link", Source: "1123 §4.2.3.2", check: timed(fastRTO)},
	{Name: "the timeout doubles with each resend", Source: "1123 §4.2.3.2", check: timed(backoff)},
	{Name: "a lost OACK is sent again", Source: "2347", check: lostOACK},
	{Name: "a stranger's port gets ERROR 5, and disturbs nothing", Source: "1350 §4", check: stranger(false)},
	{Name: "… nor does another host on the client's port", Source: "1350 §4", cables: true, check: stranger(true)},
	{Name: "a request that comes three times is one transfer", Source: "1350 §4", check: timed(repeated)},
	{Name: "… and its copy in mid-transfer begins no other", Source: "1350 §4", check: lateCopy},
	{Name: "a client that begins afresh from its port is served", Source: "1350 §4", check: afresh("mib")},
	{Name: "… with another file", Source: "1350 §4", check: afresh("small")},

	{Name: "blksize is granted, and blocks are of that size", Source: "2348", check: granted("blksize", "1024")},
	{Name: "blksize 8", Source: "2348", check: granted("blksize", "8")},
	{Name: "blksize below 8 is not echoed", Source: "2348", check: neverGranted("blksize", "7", "1", "0")},
	{Name: "blksize above 65464 is granted as less, or not", Source: "2348", check: neverGranted("blksize", "65465", "65536", "4294967808")},
	{Name: "blksize 65464 over Ethernet is lowered to what needs no fragments", Source: "2348", cables: true, check: clamped(Near4, Far4, 1468)},
	{Name: "… over IPv6", Source: "2348", cables: true, check: clamped(near6, far6, 1448)},
	{Name: "… on a route with an MTU of 1000", Source: "2348", cables: true, check: clamped(near4narrow, Far4, 968)},
	{Name: "blksize 65464 on the host itself is granted, and 1 MiB is whole", Source: "2348", cables: true, check: localBlksize},
	{Name: "1 MiB in blocks of 1428 is whole", Source: "2348", check: whole("mib", "blksize", "1428")},
	{Name: "tsize is the file's size", Source: "2349", check: tsize},
	{Name: "… over 4 GiB", Source: "2349", check: tsizeHuge},
	{Name: "a tsize probe that ends in ERROR 8, and a second request from its port", Source: "2347, 2349", check: sizeProbe},
	{Name: "timeout is granted as asked", Source: "2349", check: granted("timeout", "3")},
	{Name: "… and honoured", Source: "2349", check: timed(timeoutHonoured)},
	{Name: "timeout 0 and 256 are not echoed", Source: "2349", check: neverGranted("timeout", "0", "256", "65537")},
	{Name: "option names are read in any case", Source: "2347", check: optionCase},
	{Name: "an unknown option is left out of the OACK", Source: "2347", check: unknownOption},
	{Name: "… and alone it gets no OACK", Source: "2347", check: unknownAlone},
	{Name: "an OACK has only what was asked", Source: "2347", check: onlyAsked},
	{Name: "an option that comes twice is answered once", Source: "2347", check: twice},
	{Name: "a value that is no number is not echoed", Source: "2347", check: noNumber},
	{Name: "a request of 512 bytes is served", Source: "2347", check: longRequest},
	{Name: "a missing file asked for with options is ERROR 1, without OACK", Source: "2347", check: missing("tsize", "0", "blksize", "1428")},

	{Name: "windowsize is granted, never raised, and kept to", Source: "7440 §3", check: window},
	{Name: "… 65535 too is lowered or kept", Source: "7440 §3", check: windowed(widestWindow)},
	{Name: "windowsize 0 and 65536 are not echoed", Source: "7440 §3", check: neverGranted("windowsize", "0", "65536")},
	{Name: "windowsize 1 is lockstep", Source: "7440 §3", check: windowed(windowOne)},
	{Name: "1 MiB in windows of 64 is whole", Source: "7440 §4", check: windowed(whole("mib", "blksize", "1428", "windowsize", "64"))},
	{Name: "a file shorter than its window is whole", Source: "7440 §4", check: windowed(whole("small", "windowsize", "16"))},
	{Name: "an ACK within the window: the next begins there", Source: "7440 §4", check: windowed(gap)},
	{Name: "the window's first block lost: it comes again", Source: "7440 §4", check: windowed(firstLost)},
	{Name: "silence: the window comes again from its first block", Source: "7440 §4", check: windowed(silentWindow)},
	{Name: "each ACK twice in windows: no block comes twice", Source: "7440 §4, 1123 §4.2.3.1", check: windowed(chatty(func(n int64) []int64 { return []int64{n} }, "windowsize", "8"))},
	{Name: "an ACK from before the window brings nothing", Source: "7440 §4", check: windowed(chatty(func(n int64) []int64 { return []int64{n - 9, n - 11} }, "windowsize", "8"))},
	{Name: "1 MiB in windows of 16, one block in 50 lost, is whole in 10 s", Source: "7440 §4", check: windowed(lossy)},

	{Name: "leading and doubled slashes", Source: "—", check: names("/small", "//small", "/dir//file")},
	{Name: "backslashes", Source: "—", check: names(`\small`, `dir\file`, `\dir\\file`)},
	{Name: "a name with spaces, and with UTF-8", Source: "—", check: names("dir/of two words", "dir/größer")},
	{Name: "a link that stays in the folder", Source: "1123 §4.2.3.4", check: names("link-inside")},
	{Name: "`..` does not leave the folder", Source: "1123 §4.2.3.4", check: refusedNames("../secret", "dir/../../secret", `..\secret`, "/../secret", "/dir/../../secret")},
	{Name: "a link does not leave it", Source: "1123 §4.2.3.4", check: refusedNames("link-out", "link-absolute", "/link-out")},
	{Name: "a path of the host is refused", Source: "1123 §4.2.3.4", check: hostPath},
	{Name: "names that start with a dot are hidden", Source: "1123 §4.2.3.4", check: refusedNames(".dot", "dir/.dot")},
	{Name: "a folder is refused", Source: "1350 §5", check: refusedNames("dir", "dir/", "/", ".")},
	{Name: "a pipe is refused, and holds nobody up", Source: "—", Mode: Alone, check: pipe},
	{Name: "a missing file is ERROR 1", Source: "1350 §5", check: missing(), All: true},
	{Name: "an upload is refused with ERROR 2 where none are taken", Source: "1350 §5", check: uploadsOff},
	{Name: "errors' texts are plain, and name no path of the host", Source: "1350 §5", check: plainTexts},
	{Name: "an ERROR is sent once", Source: "1350 §7", check: timed(errorOnce)},

	{Name: "a malformed packet gets an ERROR or nothing, and harms nobody", Source: "1350 §5", Mode: Alone, check: malformed},
	{Name: "a packet for no transfer at port 69 gets ERROR 4, 5 or nothing", Source: "1350 §4", check: orphans},
	{Name: "an ERROR is never answered", Source: "1350 §7", check: errorUnanswered},
	{Name: "a client that never answers: 4 packets at most, the second within 2 s", Source: "—", check: timed(neverAnswers())},
	{Name: "… with blksize 1468", Source: "—", check: timed(neverAnswers("blksize", "1468"))},
	{Name: "… with windowsize 64", Source: "—", check: timed(neverAnswers("windowsize", "64"))},
	{Name: "… with all options", Source: "—", check: timed(neverAnswers("blksize", "65464", "windowsize", "65535", "tsize", "0", "timeout", "1"))},
	{Name: "a request while 50 others run", Source: "—", Mode: Alone, check: timed(fiftyOthers)},
	{Name: "after 6,000 requests without an answer, 1 MiB for an honest client of the same address", Source: "—", Mode: Alone, check: timed(flood)},
	{Name: "4,000 transfers of one address at once, and an ERROR that says why where it is too many", Source: "—", Mode: Alone, check: timed(limits)},
	{Name: "a file that is cut while it is sent ends with an ERROR, or is whole", Source: "—", check: cut},
	{Name: "a file that is replaced while it is sent is not mixed", Source: "—", check: replaced},
	{Name: "a file that was overwritten is served as it is now", Source: "—", check: overwritten},

	{Name: "single port: everything comes from port 69, from the address asked", Source: "—", Mode: Single, cables: true, check: singlePort},
	{Name: "… 1 MiB in windows of 64 is whole", Source: "—", Mode: Single, check: windowed(whole("mib", "blksize", "1428", "windowsize", "64"))},
	{Name: "… two transfers of one host at once", Source: "—", Mode: Single, check: interleaved},
	{Name: "… a stranger gets ERROR 5, and disturbs nothing", Source: "—", Mode: Single, cables: true, check: stranger(true)},
	{Name: "… a request that comes three times is one transfer", Source: "—", Mode: Single, check: timed(repeated)},
	{Name: "… each ACK twice: no block comes twice", Source: "—", Mode: Single, check: timed(chatty(func(n int64) []int64 { return []int64{n} }))},

	{Name: "an upload is whole", Source: "1350 §2", Mode: Upload, check: uploads()},
	{Name: "… with blksize and tsize", Source: "2348, 2349", Mode: Upload, check: uploads("blksize", "1024", "tsize", "3000")},
	{Name: "… its answers leave from the address asked, of two: IPv4", Source: "1123 §2.3", Mode: Upload, cables: true, check: uploadFrom(Near4, Far4, far4b)},
	{Name: "… its answers leave from the address asked, of two: IPv6", Source: "1123 §2.3", Mode: Upload, cables: true, check: uploadFrom(near6, far6, far6b)},
	{Name: "… a block that comes twice is stored once", Source: "1350 §2", Mode: Upload, check: uploadTwice},
	{Name: "… a file that is there is refused with ERROR 6, and stays", Source: "1350 §5", Mode: Upload, check: uploadExists},
}
