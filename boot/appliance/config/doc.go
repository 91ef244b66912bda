// Package config reads what a person says to the appliance: bootlace.yaml and
// the flags of `bootlace serve`.
//
// `bootlace serve` calls Register and Load; our firmware does, too. The package
// owns the keys, their flags and their defaults. Raw text becomes typed values,
// or an error that says which key, where, and what would be right. The package
// opens no port and no image, and changes nothing.
//
// # Keys and flags
//
// Every flag has the same key in bootlace.yaml. A flag goes over the file. An
// unknown key is an error, and `bootlace serve` exits 2.
//
// # Folders
//
// Root, state, config and upload folder may not be inside one another.
// Otherwise secrets could be served, or uploads. Only the root is served.
//
// # Profiles
//
// A profile with overwrite must match by mac, uuid or serial. What can never
// work is an error here or of --check, not of the machine. Examples are an
// image for an action without one, or kexec on a board that has none.
package config
