package doctor

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

const day = 24 * time.Hour

// generated is a certificate for localhost, its authority, and a client that trusts that.
func generated(t *testing.T, begins time.Time, life time.Duration) (made tlsfiles.Generated, trust *tls.Config) {
	t.Helper()
	made, err := tlsfiles.Generate(tlsfiles.GenerateOptions{Dir: t.TempDir(), Life: life, Now: begins})
	if err != nil {
		t.Fatal(err)
	}
	if trust, err = tlsfiles.ClientConfig(made.CA); err != nil {
		t.Fatal(err)
	}
	return made, trust
}

// serve presents a certificate and answers 404.
func serve(t *testing.T, made tlsfiles.Generated) (addr string) {
	t.Helper()
	pair, err := tlsfiles.Load(made.Cert, made.Key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", pair.ServerConfig())
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-ended })
	return l.Addr().String()
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, tt := range map[string]struct {
		begins         time.Time
		life           time.Duration
		status         Status
		detail, remedy string
	}{
		"good":         {now, 90 * day, OK, "good until " + now.Add(90*day).UTC().Format(time.DateOnly), ""},
		"ends soon":    {now, 5*day + time.Hour, Warn, "for 5 days more", "renew it"},
		"expired":      {now.Add(-10 * day), 5 * day, Fail, "expired on " + now.Add(-5*day).UTC().Format(time.DateOnly), "renew it"},
		"not yet good": {now.Add(10 * day), 90 * day, Fail, "not valid before", "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made, trust := generated(t, tt.begins, tt.life)
			c := Config{Server: "wss://" + serve(t, made), ServerTLS: trust, CertFile: made.Cert, KeyFile: made.Key, HistoryAddr: unused(t)}
			e := &Examination{within: checkWithin}
			e.addServices(c, &outboxView{}, e.add(sectionDatabase, "schema chatroom", always(ok(""))))
			e.addMachine(c)
			all := found(t, e)
			want(t, all, "services certificate", tt.status, tt.detail, tt.remedy)
			want(t, all, "machine certificate file", tt.status, tt.detail, tt.remedy)
			want(t, all, "services history", Fail, "connection refused", "start a persister")
			if tt.status == OK {
				want(t, all, "services chat room", Fail, "404", "is --server the address of a chat room")
			}
			if name == "expired" {
				want(t, all, "services chat room", Fail, "expired on", serverRemedy)
			}
		})
	}
}

func TestACertificateThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	made, _ := generated(t, time.Now(), 90*day)
	other, trust := generated(t, time.Now(), 90*day)
	c := Config{Server: "https://" + serve(t, made), ServerTLS: trust, CertFile: made.Cert, KeyFile: other.Key, HistoryAddr: unused(t)}
	e := &Examination{within: checkWithin}
	e.addServices(c, &outboxView{}, e.add(sectionDatabase, "schema chatroom", always(ok(""))))
	e.addMachine(c)
	all := found(t, e)
	want(t, all, "services certificate", Fail, "authority that is not trusted", "--ca")
	want(t, all, "machine certificate file", Fail, "does not belong to the certificate", "--tls-cert")
}

// unused is an address at which nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
