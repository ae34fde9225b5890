package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
)

// authority signs certificates for a test.
type authority struct {
	tb   testing.TB
	dir  string
	file string // its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	a := &authority{tb: tb, dir: tb.TempDir()}
	a.key = newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		tb.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	a.file = filepath.Join(a.dir, "ca.pem")
	writePEM(tb, a.file, "CERTIFICATE", der)
	return a
}

// sign makes a certificate's two files for a name or address.
func (a *authority) sign(host string, notAfter time.Time) (certFile, keyFile string) {
	a.tb.Helper()
	key := newKey(a.tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.tb.Fatal(err)
	}
	dir := a.tb.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(a.tb, certFile, "CERTIFICATE", der)
	writePEM(a.tb, keyFile, "EC PRIVATE KEY", keyDER)
	return certFile, keyFile
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func writePEM(tb testing.TB, file, kind string, der []byte) {
	tb.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// certificates are a good one and three bad ones, each with the file of the authority that the client trusts, and what
// the error must tell.
func eachCertificate(t *testing.T, story func(t *testing.T, certFile, keyFile, ca, wantErr string)) {
	later := time.Now().Add(time.Hour)
	ours, theirs := newAuthority(t), newAuthority(t)
	for _, tc := range []struct {
		name, host string
		until      time.Time
		ca         string
		wantErr    string
	}{
		{"good", "127.0.0.1", later, ours.file, ""},
		{"wrong authority", "127.0.0.1", later, theirs.file, "authority"},
		{"wrong name", "elsewhere.example", later, ours.file, "127.0.0.1"},
		{"expired", "127.0.0.1", time.Now().Add(-time.Hour), ours.file, "expired"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			certFile, keyFile := ours.sign(tc.host, tc.until)
			story(t, certFile, keyFile, tc.ca, tc.wantErr)
		})
	}
}

// WebSocket, HTTP and gRPC of a server with TLS, through the program's own clients.
func TestTLSOfTheListeners(t *testing.T) {
	t.Parallel()
	eachCertificate(t, func(t *testing.T, certFile, keyFile, ca, wantErr string) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		wait := "30s"
		if wantErr != "" {
			wait = "5s" // a client that is refused tries again until its time is over
		}
		history := freeAddr(t)
		p := embedded(t, "--tls-cert", certFile, "--tls-key", keyFile, "--history-listen", history)
		for name, args := range map[string][]string{
			"wss":   {"send", "r", "hello", "--id", "1", "--name", "ann", "--server", "wss://" + p.addr, "--ca", ca, "--timeout", wait},
			"https": nil,
			"gRPC":  {"history", "r", "--history-addr", history, "--history-tls", "--ca", ca},
		} {
			var failed error
			if args == nil {
				failed = getHTTPS(ctx, p.addr, ca)
			} else if r := gochat(ctx, t, nil, nil, args...); r.code != 0 {
				failed = errors.New(r.err)
			}
			switch {
			case wantErr == "" && failed != nil:
				t.Errorf("%s: %v", name, failed)
			case wantErr != "" && (failed == nil || !strings.Contains(failed.Error(), wantErr)):
				t.Errorf("%s: got %v, want an error about %q", name, failed, wantErr)
			}
		}
	})
}

func getHTTPS(ctx context.Context, addr, ca string) error {
	pemBytes, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pemBytes)
	d := tls.Dialer{Config: &tls.Config{RootCAs: pool}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /v1/rooms/r/events HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", addr); err != nil {
		return err
	}
	b, err := io.ReadAll(conn)
	if err == nil && !strings.HasPrefix(string(b), "HTTP/1.1 200") {
		err = fmt.Errorf("answer: %.100s", b)
	}
	return err
}

// PostgreSQL behind TLS, by the settings of its URL.
func TestTLSOfTheDatabase(t *testing.T) {
	t.Parallel()
	eachCertificate(t, func(t *testing.T, certFile, keyFile, ca, wantErr string) {
		plain, err := url.Parse(dbtest.Empty(t))
		if err != nil {
			t.Fatal(err)
		}
		addr := tlsFront(t, certFile, keyFile, plain.Host, func(c net.Conn) error {
			var request [8]byte // SSLRequest; the answer S means yes
			if _, err := io.ReadFull(c, request[:]); err != nil {
				return err
			}
			_, err := c.Write([]byte{'S'})
			return err
		})
		secure := *plain
		secure.Host = addr
		secure.RawQuery = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {ca}}.Encode()
		r := gochat(context.Background(), t, nil, []string{"DATABASE_URL=" + secure.String()}, "migrate", "up")
		if wantErr == "" && r.code != 0 {
			t.Errorf("exit code %d: %s", r.code, r.err)
		}
		if wantErr != "" && (r.code != 1 || !strings.Contains(r.err, wantErr) || strings.Count(r.err, "\n") != 1) {
			t.Errorf("exit code %d: %q, want one line about %q", r.code, r.err, wantErr)
		}
	})
}

// RabbitMQ behind TLS: amqps.
func TestTLSOfTheBroker(t *testing.T) {
	t.Parallel()
	eachCertificate(t, func(t *testing.T, certFile, keyFile, ca, wantErr string) {
		plain, err := url.Parse(brokerURL())
		if err != nil {
			t.Fatal(err)
		}
		secure := *plain
		secure.Scheme, secure.Host = "amqps", tlsFront(t, certFile, keyFile, plain.Host, func(net.Conn) error { return nil })
		s := newSplit(t, brokerURL())
		if wantErr == "" {
			s.persister() // declares what is removed at the end, in the bad cases too
		}
		s.env[1] = "RABBITMQ_URL=" + secure.String()
		p := s.chatroom("--ca", ca)
		want := "broker connected"
		if wantErr != "" {
			want = wantErr
		}
		eventually(t, 30*time.Second, "the log tells of "+want, func() error {
			if !strings.Contains(p.stderr.String(), want) {
				return errors.New("not yet")
			}
			return nil
		})
		if wantErr != "" && strings.Contains(p.stderr.String(), "broker connected") {
			t.Errorf("connected all the same")
		}
	})
}

// tlsFront listens with TLS and forwards to a plain server.
func tlsFront(t *testing.T, certFile, keyFile, target string, before func(net.Conn) error) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = lis.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				if before(c) != nil {
					return
				}
				secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
				if secure.HandshakeContext(ctx) != nil {
					return
				}
				back, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				defer back.Close()
				wg.Go(func() {
					_, _ = io.Copy(back, secure)
					_ = back.Close()
				})
				_, _ = io.Copy(secure, back)
			})
		}
	})
	return lis.Addr().String()
}
