// Package bolt is the embedded store: one file in the state folder, by bbolt.
//
// The root of the serving half opens it; rooms see a store.Store. The file is
// one process's, so a second instance of bootlace is told ErrBusy. One
// goroutine does all writes. Readers never wait for it.
//
// It never deletes a file, and never begins a damaged one anew.
package bolt
