//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package telemetry

import "os"

// Elsewhere files have the rights of the folder that they are made in.

func handOver(*os.File)         {}
func handOverDir(string)        {}
func folderFault(string) string { return "" }
