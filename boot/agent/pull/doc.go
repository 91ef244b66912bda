// Package pull brings a file over whatever protocol works.
//
// The agent and the commands get, put and ls call it. A Puller has an ordered
// list of sources. When one fails the next goes on from the last good byte. When
// all have failed it begins again at the top. A file is whole only when its size
// and SHA-256 are those that were asked for.
//
// The package owns the connections, the retries and the digest of the stored
// file. It never decodes, never touches a disk, and never decides what to get.
package pull
