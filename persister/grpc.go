package persister

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// GRPCOptions of [NewGRPCServer]. Logger is required.
type GRPCOptions struct {
	Logger   *slog.Logger
	TLS      *tls.Config         // nil: plain text
	Deadline time.Duration       // of a unary call that names no shorter one; 0: 10 s
	Extra    []grpc.ServerOption // added last, for example more interceptors (ChainUnaryInterceptor)
}

// Bounds of the transport.
const (
	maxRequestBytes  = 256 << 10 // the largest request is 1,000 names of rooms
	maxResponseBytes = 4 << 20   // what clients accept by default
	streamsPerClient = 256
)

// NewGRPCServer makes a gRPC server with bounds for everything a client can do: sizes, calls at once, the time of a unary
// call, dead connections (a ping after 30 s of silence, 10 s for its answer) and pings (one in 10 s at most). A call that
// panics is answered with INTERNAL and harms no other.
func NewGRPCServer(o GRPCOptions) *grpc.Server {
	deadline := cmp.Or(o.Deadline, 10*time.Second)
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(maxResponseBytes),
		grpc.MaxConcurrentStreams(streamsPerClient),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(recoverUnary(o.Logger), deadlineUnary(deadline)),
		grpc.ChainStreamInterceptor(recoverStream(o.Logger)),
	}
	if o.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	return grpc.NewServer(append(opts, o.Extra...)...)
}

// ServeGRPC serves on the listener until ctx is done. Then it calls onStop (for example [HistoryServer.Stop]), lets calls
// end for as long as drain, cuts the rest, and returns nil. It closes the listener.
func ServeGRPC(ctx context.Context, s *grpc.Server, lis net.Listener, drain time.Duration, onStop func()) error {
	served := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { served <- s.Serve(lis) })
	defer wg.Wait()
	select {
	case err := <-served:
		if errors.Is(err, grpc.ErrServerStopped) {
			return nil
		}
		return fmt.Errorf("serve gRPC on %s: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	onStop()
	cut := time.AfterFunc(drain, s.Stop)
	defer cut.Stop()
	s.GracefulStop()
	return nil
}

// deadlineUnary bounds a call whose client named no deadline, or a longer one.
func deadlineUnary(d time.Duration) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		return next(ctx, req)
	}
}

func recoverUnary(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if p := recover(); p != nil {
				resp, err = nil, panicked(log, info.FullMethod, p)
			}
		}()
		return next(ctx, req)
	}
}

func recoverStream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = panicked(log, info.FullMethod, p)
			}
		}()
		return next(srv, ss)
	}
}

func panicked(log *slog.Logger, method string, p any) error {
	log.Error("gRPC call panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
	return status.Error(codes.Internal, "internal error")
}
