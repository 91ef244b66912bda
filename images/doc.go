// Package images is the image format: a manifest that says what the bytes of an
// image must be, how it is cut into blocks, and the decoders of stored images.
//
// Both halves use it. cmd/bootlace makes and verifies manifests, the appliance
// makes those that are missing, and the agent checks each block that it writes.
// Memory is bounded by blocks and by the decoder's window, never by the size of
// an image.
//
// It writes nothing but manifests, serves nothing and imports nothing of ours.
package images
