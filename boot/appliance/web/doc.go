// Package web is the HTTP server. It serves the tree read-only, and the API.
//
// The appliance's root makes a Server. It calls Serve with the TCP listener and
// ServeControl with the unix socket. The package owns the paths of the API, the
// timeouts and the limits on clients. It reads files through files.Tree alone.
// Package access decides which token may give orders.
// It never decides what a machine gets, and never serves a page that runs
// scripts.
//
// # API
//
// GET /api/machines and /api/machines/ID return boot.Rows. GET /api/events
// streams the journal as server-sent events. GET /healthz answers "ok". These
// need no token, and change nothing.
//
// # Reports
//
// A device posts a boot.Report to /api/machines/MAC/events. It shows its plan's
// token, which is valid for that boot and job alone. Status 204 means that the
// journal has the events. A repeated event is recorded once. A refused report
// is in the journal, too.
//
// # What changes something
//
// POST /api/machines/ID/flash and /local take a person's order. They need the
// unix socket, or HTTP with "Authorization: Bearer" and a token. A cookie never
// counts, so no page in a browser can give orders.
package web
