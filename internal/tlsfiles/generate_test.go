package tlsfiles_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

func TestGenerate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "certs")
	now := time.Now()
	made := mustGenerate(t, tlsfiles.GenerateOptions{Dir: dir, Life: 30 * day, Hosts: []string{"chat.example", "10.0.0.1"}, Now: now})
	if !made.NewAuthority || !made.NotAfter.Equal(now.Add(30*day)) {
		t.Errorf("got %+v", made)
	}
	cert := mustCertificate(t, made.Cert)
	if diff := cmp.Diff([]string{"localhost", "chat.example"}, cert.DNSNames); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	var ips []string
	for _, ip := range cert.IPAddresses {
		ips = append(ips, ip.String())
	}
	if diff := cmp.Diff([]string{"127.0.0.1", "::1", "10.0.0.1"}, ips); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if err := cert.CheckSignatureFrom(mustCertificate(t, made.CA)); err != nil {
		t.Error(err)
	}
	if cert.IsCA || cert.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("got an authority (%v) or not ECDSA (%s)", cert.IsCA, cert.PublicKeyAlgorithm)
	}
	for _, key := range []string{made.Key, made.CAKey} {
		info, err := os.Stat(key)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s: mode %o, want 600", key, got)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Errorf("got %d files, %v, want 4", len(entries), err)
	}
}

func TestGenerateRefusesToOverwrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := tlsfiles.GenerateOptions{Dir: dir, Life: day}
	first := mustGenerate(t, opts)
	before := mustRead(t, first.Cert)
	if _, err := tlsfiles.Generate(opts); err == nil || !strings.Contains(err.Error(), "is there already; --force replaces it") {
		t.Errorf("got %v, want a refusal", err)
	}
	if !bytes.Equal(before, mustRead(t, first.Cert)) {
		t.Error("the certificate changed")
	}
	authority := mustRead(t, first.CA)
	opts.Force = true
	if again := mustGenerate(t, opts); again.NewAuthority {
		t.Error("a good authority was replaced")
	}
	if !bytes.Equal(authority, mustRead(t, first.CA)) || bytes.Equal(before, mustRead(t, first.Cert)) {
		t.Error("want a new certificate of the same authority")
	}
}

func TestGenerateUsesTheAuthorityOfTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := tlsfiles.GenerateOptions{Dir: dir, Life: day}
	first := mustGenerate(t, opts)
	mustRemove(t, first.Cert)
	mustRemove(t, first.Key)
	second := mustGenerate(t, opts)
	if second.NewAuthority {
		t.Error("want the authority that was there")
	}
	if err := mustCertificate(t, second.Cert).CheckSignatureFrom(mustCertificate(t, first.CA)); err != nil {
		t.Error(err)
	}
}

func TestGenerateWithABrokenAuthority(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(tlsfiles.Generated) error{
		"no key":         func(g tlsfiles.Generated) error { return os.Remove(g.CAKey) },
		"no certificate": func(g tlsfiles.Generated) error { return os.Remove(g.CA) },
		"nonsense":       func(g tlsfiles.Generated) error { return os.WriteFile(g.CA, []byte("nonsense"), 0o600) },
		"no authority": func(g tlsfiles.Generated) error {
			return errors.Join(os.Rename(g.Cert, g.CA), os.Rename(g.Key, g.CAKey))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := tlsfiles.GenerateOptions{Dir: t.TempDir(), Life: day}
			first := mustGenerate(t, opts)
			if err := spoil(first); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{first.Cert, first.Key} {
				if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
			if _, err := tlsfiles.Generate(opts); err == nil || !strings.Contains(err.Error(), "--force makes a new") {
				t.Errorf("got %v, want a refusal", err)
			}
			opts.Force = true
			if made := mustGenerate(t, opts); !made.NewAuthority {
				t.Error("want a new authority")
			}
		})
	}
}

func TestACertificateDoesNotOutliveItsAuthority(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := mustGenerate(t, tlsfiles.GenerateOptions{Dir: dir, Life: 3650 * 2 * day})
	if ca := mustCertificate(t, made.CA); made.NotAfter.After(ca.NotAfter.Add(time.Second)) {
		t.Errorf("certificate until %s, authority until %s", made.NotAfter, ca.NotAfter)
	}
	// Eleven years later the authority has expired.
	_, err := tlsfiles.Generate(tlsfiles.GenerateOptions{Dir: dir, Life: day, Now: time.Now().AddDate(11, 0, 0)})
	if err == nil {
		t.Error("an expired authority signed")
	}
}

func mustCertificate(tb testing.TB, file string) *x509.Certificate {
	tb.Helper()
	block, _ := pem.Decode(mustRead(tb, file))
	if block == nil {
		tb.Fatalf("%s: no PEM", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func mustRead(tb testing.TB, file string) []byte {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func mustRemove(tb testing.TB, file string) {
	tb.Helper()
	if err := os.Remove(file); err != nil {
		tb.Fatal(err)
	}
}
