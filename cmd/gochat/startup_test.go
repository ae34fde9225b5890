package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/admin"
	"github.com/rafaeldepontes/go-chat/internal/config"
)

func TestATakenPortIsOneLine(t *testing.T) {
	t.Parallel()
	first, err := listenAddress{addr: "127.0.0.1:0", flag: "listen", origin: "--listen"}.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	taken := first.Addr().String()
	for _, tt := range []struct {
		at   listenAddress
		want string
	}{
		{listenAddress{addr: taken, flag: "listen", origin: "--listen"}, "--listen: " + taken + " is taken by another program: choose another with --listen"},
		{listenAddress{addr: taken, flag: "listen", origin: "GOCHAT_LISTEN"}, "GOCHAT_LISTEN: " + taken + " is taken by another program: choose another with --listen"},
		{listenAddress{addr: "192.0.2.1:0", flag: "listen", origin: "--listen"}, "--listen: 192.0.2.1:0 is not an address of this machine: choose another with --listen"},
	} {
		second, err := tt.at.listen(t.Context())
		if err == nil {
			_ = second.Close()
		}
		if err == nil || err.Error() != tt.want || exitCode(err) != 1 {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
	// A default that nobody asked for gives way.
	third, err := listenAddress{addr: taken, flag: "admin-listen", origin: "--admin-listen"}.orFree(taken).listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = third.Close()
}

func TestAnEarlyStopIsOrderly(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	if got := stoppedEarly(ctx, context.Canceled); got == nil {
		t.Error("a cancel of something else was taken for a stop")
	}
	cancel()
	if got := stoppedEarly(ctx, context.Canceled); got != nil {
		t.Errorf("got %v, want nil", got)
	}
	if got := stoppedEarly(ctx, broken); !errors.Is(got, broken) {
		t.Errorf("got %v, want %v", got, broken)
	}
}

func TestTheAdminListenerServes(t *testing.T) {
	t.Parallel()
	s := config.New("chatroom")
	at := declareAdmin(s, "127.0.0.1:9090")
	if _, err := s.Parse([]string{"--admin-listen", "127.0.0.1:0"}, func(string) string { return "" }, nil); err != nil {
		t.Fatal(err)
	}
	// The address is only in the log, as an operator would find it.
	var log strings.Builder
	serve, err := openAdmin(t.Context(), at(), admin.New(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, addr, _ := strings.Cut(strings.TrimSpace(log.String()), "addr=")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "ok\n" {
		t.Errorf("got %q, %v", body, err)
	}
	_ = resp.Body.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheAdminListenerMayBeOff(t *testing.T) {
	t.Parallel()
	s := config.New("chatroom")
	at := declareAdmin(s, "127.0.0.1:9090")
	if _, err := s.Parse([]string{"--admin-listen", "off"}, func(string) string { return "" }, nil); err != nil {
		t.Fatal(err)
	}
	if serve, err := openAdmin(t.Context(), at(), admin.New(), slog.New(slog.DiscardHandler)); serve != nil || err != nil {
		t.Errorf("got a part (%v), %v", serve != nil, err)
	}
}

// The start asks the database for several things over several connections, and it may go away before any of them.
func TestADatabaseThatGoesAwayDuringTheStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	for lost := range 4 {
		for name, args := range map[string][]string{"persister": nil, "chatroom": {"--history-addr", "127.0.0.1:1"}} {
			t.Run(fmt.Sprintf("%s, connection %d", name, lost+1), func(t *testing.T) {
				t.Parallel()
				in := newInstallation(t)
				u, err := url.Parse(in.flags[1])
				if err != nil {
					t.Fatal(err)
				}
				u.Host = losing(t, u.Host, lost)
				in.flags[1] = u.String()
				in.start(name, append(args, "--listen", "127.0.0.1:0", "--admin-listen", "off")...)
			})
		}
	}
}

// losing forwards connections to a server, all but one, which ends before its first byte.
func losing(t *testing.T, server string, lost int) (addr string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			client, err := lis.Accept()
			if err != nil {
				return
			}
			if n == lost {
				_ = client.Close()
				continue
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				t.Error(err)
				_ = client.Close()
				return
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_, _ = to.Close(), from.Close()
			}
			wg.Go(func() { pass(up, client) })
			wg.Go(func() { pass(client, up) })
		}
	})
	t.Cleanup(func() { _ = lis.Close(); wg.Wait() })
	return lis.Addr().String()
}
