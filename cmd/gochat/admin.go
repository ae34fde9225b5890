package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/admin"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/lifecycle"
)

// declareAdmin declares the admin listener of a service.
func declareAdmin(s *config.Set, def string) func() listenAddress {
	addr := s.String("admin-listen", def, "where /healthz, /readyz, /metrics, /trace and /debug/pprof/ are served; off: nowhere",
		config.PerCommand(), config.Value("ADDRESS"), config.Check(func(text string) error {
			if text == "off" {
				return nil
			}
			return config.ListenAddress(text)
		}))
	// Two chat rooms on one machine should just run, so that a free port does where nobody asked for this one.
	return func() listenAddress { return listenAddressOf(s, "admin-listen", *addr).orFree(def) }
}

// openAdmin opens the admin listener and returns the part that serves it, which belongs first into a group: it tells
// that the program is not ready while the rest starts. The part is nil where the listener is off.
func openAdmin(ctx context.Context, at listenAddress, server *admin.Server, logger *slog.Logger) (func(context.Context) error, error) {
	if at.addr == "off" {
		return nil, nil //nolint:nilnil // off is neither a part nor a failure
	}
	listener, err := at.listen(ctx)
	if err != nil {
		return nil, err
	}
	logger.Info("admin listener", "addr", listener.Addr().String())
	// No write timeout: a profile takes as long as its caller asks for.
	web := &http.Server{
		Handler:           server.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return lifecycle.HTTP(web, listener, time.Second), nil
}
