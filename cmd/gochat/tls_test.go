package main

import (
	"bufio"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

// TestTLSOfTheWholeProgram sends over wss:// and reads over gRPC, from a program that has a certificate.
func TestTLSOfTheWholeProgram(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name    string
		made    time.Time // of the certificate, which is good for a day
		host    string    // that the client asks for; 0.0.0.0 reaches this machine too, and is not in the certificate
		wrongCA bool
		want    string // on the client's standard error; empty: it works
	}{
		{name: "good", host: "127.0.0.1"},
		{name: "wrong authority", host: "127.0.0.1", wrongCA: true, want: "authority that is not trusted here"},
		{name: "wrong name", host: "0.0.0.0", want: "certificate is not for 0.0.0.0"},
		{name: "expired", host: "127.0.0.1", made: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), want: "certificate expired on 2026-01-02"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files, err := tlsfiles.Generate(tlsfiles.GenerateOptions{Dir: filepath.Join(dir, "certs"), Life: day, Now: tt.made})
			if err != nil {
				t.Fatal(err)
			}
			ca := files.CA
			if tt.wrongCA {
				other, err := tlsfiles.Generate(tlsfiles.GenerateOptions{Dir: filepath.Join(dir, "other"), Life: day})
				if err != nil {
					t.Fatal(err)
				}
				ca = other.CA
			}
			server, history := startUp(t, "--data", filepath.Join(dir, "data"), "--tls-cert", files.Cert, "--tls-key", files.Key)
			server = "wss://" + strings.Replace(server, "127.0.0.1", tt.host, 1)
			history = strings.Replace(history, "127.0.0.1", tt.host, 1)

			vars := map[string]string{"XDG_STATE_HOME": dir, "GOCHAT_CA": ca}
			if tt.want == "" {
				if _, stderr, err := call(t, vars, "send", "ops", "hello", "--name", "ann", "--server", server); err != nil {
					t.Errorf("send: %v, %q", err, stderr)
				}
			} else { // who is refused tells why, and tries again for ever
				p := startProgram(t, "send", "ops", "hello", "--name", "ann", "--server", server, "--ca", ca, "--queue-dir", dir, "--timeout", "0")
				p.err.await(t, tt.want)
				p.cancel()
				if err := p.wait(); err == nil {
					t.Error("send: the message was accepted")
				}
			}
			_, _, err = call(t, vars, "history", "ops", "--history-addr", history, "--history-tls")
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("history: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("history: got %v, want %q", err, tt.want)
			}
		})
	}
}

// startUp runs gochat up on free ports until the test ends, and returns the addresses of its listeners.
func startUp(t *testing.T, flags ...string) (server, history string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		args := append([]string{"up", "--listen", "127.0.0.1:0", "--history-listen", "127.0.0.1:0", "--admin-listen", "off"}, flags...)
		err := run(ctx, args, func(string) string { return "" }, strings.NewReader(""), out, io.Discard)
		_ = out.Close()
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		_, _ = io.Copy(io.Discard, stdout)
		if err := <-ended; err != nil {
			t.Errorf("up: %v", err)
		}
	})
	lines := bufio.NewScanner(stdout)
	for (server == "" || history == "") && lines.Scan() {
		if _, address, found := strings.Cut(lines.Text(), "listens on https://"); found {
			server = address
		}
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == "history" {
			history = words[1]
		}
	}
	if server == "" || history == "" {
		t.Fatalf("up does not tell its addresses: %v", lines.Err())
	}
	return server, history
}
