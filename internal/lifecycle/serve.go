package lifecycle

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// HTTP makes a part of an HTTP server and its listener. When asked to stop it takes no new connections, waits at most
// grace for the requests under way, and then cuts them. Hijacked connections, such as WebSockets, are not its business.
func HTTP(server *http.Server, listener net.Listener, grace time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(listener) }()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
		}
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err := server.Shutdown(stopCtx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		if serveErr := <-ended; err == nil && !errors.Is(serveErr, http.ErrServerClosed) {
			err = serveErr
		}
		return err
	}
}

// GRPCServer is what [GRPC] needs of a *grpc.Server.
type GRPCServer interface {
	Serve(net.Listener) error
	GracefulStop()
	Stop()
}

// GRPC makes a part of a gRPC server and its listener, which stops as [HTTP] does.
func GRPC(server GRPCServer, listener net.Listener, grace time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(listener) }()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
		}
		// Stop makes a GracefulStop under way return.
		cut := time.AfterFunc(grace, server.Stop)
		defer cut.Stop()
		server.GracefulStop()
		return <-ended
	}
}
