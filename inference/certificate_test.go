package inference

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"
)

func TestCertificate(t *testing.T) {
	c := start(t, Config{})
	certificate := c.certificate()

	t.Run("is the one of both TLS listeners", func(t *testing.T) {
		for _, addr := range []net.Addr{c.server.Addrs().Run, c.server.Addrs().Manage} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				roots := x509.NewCertPool()
				roots.AddCert(certificate)
				conn, err := tls.Dial("tcp", addr.String(), &tls.Config{
					RootCAs: roots, ServerName: ServerName, MinVersion: version, MaxVersion: version,
				})
				if err != nil {
					t.Fatalf("%s: %v", tls.VersionName(version), err)
				}
				if !conn.ConnectionState().PeerCertificates[0].Equal(certificate) {
					t.Error("the listener shows another certificate")
				}
				conn.Close()
			}
		}
	})
	t.Run("verifies under its name alone", func(t *testing.T) {
		roots := x509.NewCertPool()
		roots.AddCert(certificate)
		options := x509.VerifyOptions{Roots: roots, DNSName: "blindai-srv"}
		if _, err := certificate.Verify(options); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"127.0.0.1", "localhost", "example.com"} {
			options.DNSName = name
			if _, err := certificate.Verify(options); err == nil {
				t.Errorf("it verifies as %s", name)
			}
		}
		for _, year := range []int{1980, 2100, 4000} {
			options.DNSName, options.CurrentTime = "blindai-srv", time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
			if _, err := certificate.Verify(options); err != nil {
				t.Errorf("in the year %d: %v", year, err)
			}
		}
	})
	t.Run("has what strict verifiers want", func(t *testing.T) {
		key, ok := certificate.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() || certificate.SignatureAlgorithm != x509.ECDSAWithSHA256 {
			t.Error("it is not ECDSA on P-256 with SHA-256")
		}
		if !certificate.BasicConstraintsValid || certificate.IsCA {
			t.Error("it does not say that it is no authority")
		}
		if certificate.KeyUsage != x509.KeyUsageDigitalSignature {
			t.Error("its key may be used for something but signatures")
		}
		if len(certificate.SubjectKeyId) == 0 || !bytes.Equal(certificate.SubjectKeyId, certificate.AuthorityKeyId) {
			t.Error("its key identifiers are missing or differ")
		}
		if certificate.SerialNumber.Sign() <= 0 || certificate.Subject.String() == "" {
			t.Error("it has no serial number or no subject")
		}
		if len(certificate.DNSNames) != 1 || certificate.DNSNames[0] != "blindai-srv" {
			t.Errorf("it is for %v", certificate.DNSNames)
		}
	})
	t.Run("is made anew at every start", func(t *testing.T) {
		if start(t, Config{}).certificate().Equal(certificate) {
			t.Error("two servers have the same certificate")
		}
	})
}
