// Package onnx loads ONNX models and runs them. It is the only room that knows ONNX Runtime,
// a C++ library that is loaded while the program runs, so that no other room has to know how
// its tensors are made, freed and misread.
//
// Start with [Find] and [Open], then [Runtime.Load] and [Model.Run]:
//
//	library, err := onnx.Find()
//	runtime, err := onnx.Open(library)
//	model, err := runtime.Load(file, true)
//	outputs, err := model.Run(ctx, inputs)
//
// The package checks the number, names, types and shapes of what it is given before the engine
// sees it, because the engine's own words name none of them well. It refuses what cannot cross the
// wire (float16, strings, sequences, maps) when a model is loaded, not when it is run, and it
// refuses a model that keeps its weights in other files: the engine would read those from the
// machine it runs on, and whoever uploads a model must not choose which.
//
// ONNX Runtime from 1.29 on carries a telemetry client of its own. The release that we ship has
// none, but an operator may bring another, so [Open] switches it off before the library is loaded.
//
// The bytes of a tensor are little-endian, as on the wire and as on every processor that ONNX
// Runtime supports; they are handed to the engine as they are.
package onnx
