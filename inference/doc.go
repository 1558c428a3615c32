// Package inference is the model server: it takes ONNX models, runs them and forgets
// them, over TLS and CBOR, as BlindAI 0.6 does, so that its Python client works with it.
//
// Build one with [New], which touches no network, and let it serve:
//
//	server, err := inference.New(inference.Config{})
//	err = server.Listen() // all three ports are bound, or none
//	err = server.Serve()  // until Shutdown
//
// There are three listeners, each its own port, because they are for different people. The
// unattested one hands out the certificate (and, in hardware mode, the evidence for it) over plain
// HTTP. The run listener takes inference. The manage listener takes uploads and deletes, and binds
// to the loopback address unless told otherwise: whoever reaches it can fill the server's memory.
// There are no accounts and no passwords; who knows a model's id may run it.
//
// Everything lives in memory and ends with the process, the key of the certificate included.
//
// What the server must not tell, it does not keep: a model's name is read over, client_info is
// stepped over, and no log line has a model's id, name or hash, an input, an output or the address
// of a peer. Errors go to the one who made the request, and repeat nothing of its values.
//
// A request comes from anybody, so it is read by a small reader of our own (see item) with the
// limits of [Limits], and handed to the engine only after its inputs were held against what the
// model declares.
package inference
