// Package enclave knows what the model server runs in: ordinary memory, or a trusted execution
// environment whose memory the machine's owner cannot read.
//
// Start with [Software], the platform of a program that runs like any other. It is what a zero
// configuration of the server uses, and it proves nothing to a client: what it says about itself
// is only said, so its banner tells clients that demand proof to go away.
//
// The package promises no more than a platform can show. A hardware platform will be another type
// behind [Platform] with its evidence (a quote over the server's certificate and what is needed to
// check it); until there is one, nothing here can say HW.
package enclave
