package tlsfiles_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = 24 * time.Hour

// The four ways in which a client meets a certificate, and what its user reads. The server is reached by the name in
// serverName, whatever its address.
type meeting struct {
	name       string
	generate   tlsfiles.GenerateOptions
	serverName string
	wrongCA    bool
	want       string // in the error; empty: it connects
}

func meetings() []meeting {
	return []meeting{
		{name: "good", generate: tlsfiles.GenerateOptions{Life: day}, serverName: "localhost"},
		{name: "good by a name of its own", generate: tlsfiles.GenerateOptions{Life: day, Hosts: []string{"chat.example"}}, serverName: "chat.example"},
		{
			name: "wrong authority", generate: tlsfiles.GenerateOptions{Life: day}, serverName: "localhost", wrongCA: true,
			want: "comes from an authority that is not trusted here; --ca names",
		},
		{
			name: "wrong name", generate: tlsfiles.GenerateOptions{Life: day}, serverName: "chat.example",
			want: "the server's certificate is not for chat.example;",
		},
		{
			name:       "expired",
			generate:   tlsfiles.GenerateOptions{Life: day, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
			serverName: "localhost", want: "the server's certificate expired on 2026-01-02",
		},
		{
			name:       "not valid yet",
			generate:   tlsfiles.GenerateOptions{Life: day, Now: time.Date(2126, 1, 1, 12, 0, 0, 0, time.UTC)},
			serverName: "localhost", want: "the server's certificate is not valid before 2126-01-01",
		},
	}
}

// configs makes the files and loads both sides.
func (m meeting) configs(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	m.generate.Dir = t.TempDir()
	files := mustGenerate(t, m.generate)
	ca := files.CA
	if m.wrongCA {
		ca = mustGenerate(t, tlsfiles.GenerateOptions{Dir: t.TempDir(), Life: day}).CA
	}
	pair, err := tlsfiles.Load(files.Cert, files.Key, discard())
	if err != nil {
		t.Fatal(err)
	}
	client, err = tlsfiles.ClientConfig(ca)
	if err != nil {
		t.Fatal(err)
	}
	client.ServerName = m.serverName
	return pair.ServerConfig(), client
}

func (m meeting) check(t *testing.T, err error) {
	t.Helper()
	switch {
	case m.want == "" && err != nil:
		t.Errorf("got %v, want a connection", err)
	case m.want != "" && (err == nil || !strings.Contains(err.Error(), m.want)):
		t.Errorf("got %v, want %q", err, m.want)
	}
}

func TestHTTPSMeetsCertificates(t *testing.T) {
	t.Parallel()
	for _, m := range meetings() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			server, client := m.configs(t)
			listener := mustListen(t)
			web := &http.Server{
				Handler:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }),
				TLSConfig: server, ErrorLog: slog.NewLogLogger(discard().Handler(), slog.LevelDebug),
			}
			ended := make(chan error, 1)
			go func() { ended <- web.ServeTLS(listener, "", "") }()
			defer func() {
				_ = web.Close()
				<-ended
			}()
			transport := &http.Transport{TLSClientConfig: client, DisableKeepAlives: true}
			resp, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String())
			if err == nil {
				_ = resp.Body.Close()
			}
			m.check(t, tlsfiles.Explain(err))
		})
	}
}

func TestGRPCMeetsCertificates(t *testing.T) {
	t.Parallel()
	for _, m := range meetings() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			server, client := m.configs(t)
			listener := mustListen(t)
			service := grpc.NewServer(grpc.Creds(credentials.NewTLS(server)))
			grpc_health_v1.RegisterHealthServer(service, health.NewServer())
			ended := make(chan error, 1)
			go func() { ended <- service.Serve(listener) }()
			defer func() {
				service.Stop()
				<-ended
			}()
			conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(tlsfiles.GRPC(client)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			m.check(t, err)
		})
	}
}

func TestAServerWithoutTLSIsExplained(t *testing.T) {
	t.Parallel()
	listener := mustListen(t)
	web := &http.Server{Handler: http.NotFoundHandler()}
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(listener) }()
	defer func() {
		_ = web.Close()
		<-ended
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12})
	if err == nil {
		_ = conn.Close()
	}
	if got := tlsfiles.Explain(err); got == nil || !strings.Contains(got.Error(), "does not speak TLS") {
		t.Errorf("got %v", got)
	}
}

func TestExplainKeepsTheError(t *testing.T) {
	t.Parallel()
	if tlsfiles.Explain(nil) != nil {
		t.Error("nil became an error")
	}
	plain := errors.New("plain")
	if got := tlsfiles.Explain(plain); !errors.Is(got, plain) || got.Error() != "plain" {
		t.Errorf("got %v", got)
	}
	if got := tlsfiles.Explain(x509.UnknownAuthorityError{}); !errors.As(got, new(x509.UnknownAuthorityError)) {
		t.Errorf("got %v, want the chain kept", got)
	}
}

func TestLoadTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := mustGenerate(t, tlsfiles.GenerateOptions{Dir: filepath.Join(dir, "one"), Life: day})
	two := mustGenerate(t, tlsfiles.GenerateOptions{Dir: filepath.Join(dir, "two"), Life: day})
	nonsense := filepath.Join(dir, "nonsense.pem")
	mustWrite(t, nonsense, "nonsense")
	secret := filepath.Join(dir, "secret.pem")
	mustWrite(t, secret, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for _, tt := range []struct{ name, cert, key, want string }{
		{"no certificate", "missing.pem", one.Key, "certificate missing.pem: no such file"},
		{"no key", one.Cert, "missing.pem", "key missing.pem: no such file"},
		{"a key of another", one.Cert, two.Key, "does not belong to the certificate"},
		{"the two mixed up", one.Key, one.Cert, "holds no PEM block CERTIFICATE"},
		{"nonsense for a key", one.Cert, nonsense, "holds no PEM block with a private key"},
		{"a password", one.Cert, secret, "is protected by a password"},
	} {
		_, err := tlsfiles.Load(tt.cert, tt.key, discard())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := tlsfiles.ClientConfig("missing.pem"); err == nil || err.Error() != "certificate missing.pem: no such file" {
		t.Errorf("authority: got %v", err)
	}
}

func TestAnExpiredCertificateIsAWarningWithItsDate(t *testing.T) {
	t.Parallel()
	files := mustGenerate(t, tlsfiles.GenerateOptions{Dir: t.TempDir(), Life: day, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	var log bytes.Buffer
	if _, err := tlsfiles.Load(files.Cert, files.Key, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "not_after=2026-01-02") {
		t.Errorf("got log %q", log.String())
	}
}

func TestARenewedCertificateIsTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := mustGenerate(t, tlsfiles.GenerateOptions{Dir: dir, Life: day})
	pair, err := tlsfiles.Load(files.Cert, files.Key, discard())
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		cert, err := pair.ServerConfig().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber.String()
	}
	first := serial()
	if serial() != first {
		t.Error("the certificate changed by itself")
	}
	// In the middle of a renewal: the key is new, the certificate is not.
	other := mustGenerate(t, tlsfiles.GenerateOptions{Dir: t.TempDir(), Life: day})
	mustRename(t, other.Key, files.Key)
	mustTouch(t, files.Key, time.Now().Add(time.Minute))
	if serial() != first {
		t.Error("a key that does not fit was taken")
	}
	mustRename(t, other.Cert, files.Cert)
	mustTouch(t, files.Cert, time.Now().Add(time.Minute))
	second := serial()
	if second == first {
		t.Error("the renewed certificate was not taken")
	}
	if err := os.Remove(files.Cert); err != nil {
		t.Fatal(err)
	}
	if serial() != second {
		t.Error("a missing file took the certificate away")
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func mustGenerate(tb testing.TB, opts tlsfiles.GenerateOptions) tlsfiles.Generated {
	tb.Helper()
	made, err := tlsfiles.Generate(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return made
}

func mustListen(tb testing.TB) net.Listener {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return listener
}

func mustWrite(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func mustRename(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.Rename(from, to); err != nil {
		tb.Fatal(err)
	}
}

func mustTouch(tb testing.TB, path string, at time.Time) {
	tb.Helper()
	if err := os.Chtimes(path, at, at); err != nil {
		tb.Fatal(err)
	}
}
