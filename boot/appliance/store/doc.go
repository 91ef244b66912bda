// Package store is the one interface of state that several appliances share:
// leases, machines, jobs, journal heads.
//
// A Store is small enough for bbolt, memory and etcd alike. It has get,
// compare-and-swap by revision, list, watch by prefix, and entries that expire.
// There is no transaction over two keys. The folder bolt holds the embedded
// store, and the folder storetest the tests that every store passes.
//
// The rooms registry and lease never call a Store themselves. Each holds a
// Mirror, which is a typed copy in memory of all entries under one prefix. It
// follows the changes of other appliances, and writes by compare-and-swap.
//
// Memory is a Store that ends with its process. It lies here and not in a
// folder of its own, since it links nothing and both tests and a check of a
// config want it.
//
// This package imports nothing of ours, and no database. It never decides what
// a value means.
package store
