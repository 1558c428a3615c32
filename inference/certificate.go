package inference

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// ServerName is the one name in the server's certificate. Clients check it in place of the address
// that they dialled.
const ServerName = "blindai-srv"

// newCertificate makes the certificate of this run of the server, with a key that never leaves
// memory. It proves nothing by itself: in hardware mode a quote speaks for it, in software mode a
// client trusts it at first sight.
func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the key of the certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the serial number of the certificate: %w", err)
	}
	public, err := key.PublicKey.ECDH()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the key identifier of the certificate: %w", err)
	}
	keyID := sha256.Sum256(public.Bytes())
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), // zero is not allowed
		Subject:      pkix.Name{CommonName: ServerName},
		DNSNames:     []string{ServerName},
		// An enclave has no clock that it could trust, and the certificate ends with the process
		// anyway. These are the dates of the original.
		NotBefore: time.Date(1975, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  time.Date(4096, 1, 1, 0, 0, 0, 0, time.UTC),
		// The original left out all of the following. Strict verifiers want it, such as Python's
		// from 3.13 on; others do not mind.
		BasicConstraintsValid: true,
		IsCA:                  false,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		SubjectKeyId:          keyID[:20],
		AuthorityKeyId:        keyID[:20],
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read the certificate back: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
