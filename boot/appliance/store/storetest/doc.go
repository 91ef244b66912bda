// Package storetest is the suite of tests that every store passes.
//
// Tests of a store call Run. A Subject says how that store is opened, how its
// time passes, and how a writer of it is killed. The suite uses a store only
// through its interface, and never looks at how it keeps anything.
package storetest
