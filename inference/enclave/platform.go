package enclave

// Mode says whether the memory of the server is protected by hardware.
type Mode uint8

const (
	SW Mode = iota // ordinary memory
	HW             // a trusted execution environment
)

// String returns SW or HW.
func (m Mode) String() string {
	if m == HW {
		return "HW"
	}
	return "SW"
}

// A Platform is what the server runs in. Its methods are safe for concurrent use and give the same
// answer as long as the process lives.
type Platform interface {
	// Mode says what protects the memory.
	Mode() Mode

	// Banner is the Server header of the unattested listener. Clients read it before anything
	// else: those that demand attestation refuse a banner with the word mock in it.
	Banner() string
}

// Software is the platform without protection, for trying things out and for machines that their
// users trust anyway. It has no quote and no collateral.
type Software struct{}

var _ Platform = Software{}

// Mode returns SW.
func (Software) Mode() Mode { return SW }

// Banner returns the words by which clients know a server that cannot be attested.
func (Software) Banner() string { return "blindai mock (testing)" }
