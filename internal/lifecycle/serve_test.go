package lifecycle_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rafaeldepontes/go-chat/internal/lifecycle"
)

func TestHTTPFinishesRequestsUnderWay(t *testing.T) {
	t.Parallel()
	listener := mustListen(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "done")
	})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := start(ctx, lifecycle.HTTP(server, listener, time.Minute))

	answer := make(chan string, 1)
	go func() { answer <- get("http://" + listener.Addr().String()) }()
	<-arrived
	cancel()
	// Once no new connection is taken, the stop is under way.
	for {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("got %q, want the whole answer", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestHTTPCutsARequestThatTakesTooLong(t *testing.T) {
	t.Parallel()
	listener := mustListen(t)
	arrived := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := start(ctx, lifecycle.HTTP(server, listener, time.Millisecond))
	answer := make(chan string, 1)
	go func() { answer <- get("http://" + listener.Addr().String()) }()
	<-arrived
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-answer
}

func TestAListenerThatBreaksIsAFailure(t *testing.T) {
	t.Parallel()
	listener := mustListen(t)
	_ = listener.Close()
	if err := lifecycle.HTTP(&http.Server{}, listener, time.Second)(t.Context()); err == nil {
		t.Error("HTTP: got no error")
	}
	if err := lifecycle.GRPC(grpc.NewServer(), listener, time.Second)(t.Context()); err == nil {
		t.Error("GRPC: got no error")
	}
}

func TestGRPCCutsAStreamThatStays(t *testing.T) {
	t.Parallel()
	listener := mustListen(t)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	ctx, cancel := context.WithCancel(t.Context())
	ended := start(ctx, lifecycle.GRPC(server, listener, time.Millisecond))

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); err == nil {
		t.Error("the stream lives on")
	}
}

func start(ctx context.Context, run func(context.Context) error) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	return ended
}

func get(url string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func mustListen(tb testing.TB) net.Listener {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return listener
}
