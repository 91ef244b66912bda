// Package source holds the producers of an image's blocks. Each brings blocks
// from one place to a flash.Job, in any order.
//
// The agent and `bootlace flash` hand a producer to flash.Write. This package
// owns fetching, decoding and cutting, and the room between them. It never
// touches a disk and never judges a block: the job does. That the stored file
// has the right digest is the fetcher's to say.
package source
