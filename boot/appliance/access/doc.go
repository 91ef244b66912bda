// Package access says who may what: which clients have a name, and what each
// may do.
//
// Servers of protocols ask it when a client logs in or shows a token, and
// before they do something for it. The package owns the rights and how a
// secret is compared. It never speaks a protocol, and it keeps no sessions.
//
// Whatever changes something needs the right to Order: through the unix socket
// in the state folder, whose permissions are the host's, or with a bearer
// token. A cookie is never taken for one. So no page in a browser can ask in
// a person's name.
package access
