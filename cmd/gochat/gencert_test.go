package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGencert(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	out, _, err := call(t, nil, "gencert", "--dir", dir, "--host", "chat.example, 10.0.0.1", "--days", "30")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"for localhost, 127.0.0.1, ::1, chat.example, 10.0.0.1, until ",
		"new authority " + filepath.Join(dir, "ca.pem"),
		"server: --tls-cert " + filepath.Join(dir, "cert.pem") + " --tls-key " + filepath.Join(dir, "key.pem"),
		"client: --ca " + filepath.Join(dir, "ca.pem"),
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	_, _, err = call(t, nil, "gencert", "--dir", dir)
	if err == nil || exitCode(err) != 1 || !strings.Contains(err.Error(), "--force replaces it") {
		t.Errorf("got %v, want a refusal", err)
	}
	out, _, err = call(t, nil, "gencert", "--dir", dir, "--force")
	if err != nil || !strings.Contains(out, "the authority in "+filepath.Join(dir, "ca.pem")+" signed it") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestBadCertificateFilesNameTheirSetting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	nonsense := filepath.Join(dir, "nonsense.pem")
	if err := os.WriteFile(nonsense, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{"GOCHAT_TLS_CERT": nonsense, "GOCHAT_TLS_KEY": nonsense}
	for _, name := range []string{"up", "chatroom", "persister"} {
		_, _, err := call(t, vars, name)
		if err == nil || exitCode(err) != 1 || err.Error() != "GOCHAT_TLS_CERT: certificate "+nonsense+": holds no PEM block CERTIFICATE" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, _, err := call(t, nil, "chatroom", "--ca", "missing.pem", "--history-tls")
	if err == nil || err.Error() != "--ca: certificate missing.pem: no such file" {
		t.Errorf("got %v", err)
	}
}
