package enclave_test

import (
	"strings"
	"testing"

	"github.com/blindai-go/blindai/inference/enclave"
)

func TestSoftware(t *testing.T) {
	var platform enclave.Platform = enclave.Software{}
	if got := platform.Mode().String(); got != "SW" {
		t.Errorf("mode is %s, want SW", got)
	}
	// Clients look for this very word to refuse a server that cannot be attested.
	if got := platform.Banner(); got != "blindai mock (testing)" || !strings.Contains(got, "mock") {
		t.Errorf("banner is %q, want %q", got, "blindai mock (testing)")
	}
	if got := enclave.HW.String(); got != "HW" {
		t.Errorf("the other mode is %s, want HW", got)
	}
}
