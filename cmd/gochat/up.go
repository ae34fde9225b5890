package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

// defaultData is below the working folder, where its owner sees it; up tells the full path at its start.
const defaultData = "gochat-data"

// upConfig is all that the program needs to know to run everything in one process.
type upConfig struct {
	listen     listenAddress
	history    listenAddress
	admin      listenAddress
	data       string // folder of the two SQLite files
	dataOrigin string // --data or GOCHAT_DATA
	handlers   int
	reflection bool
	chat       chatConfig
	tls        *tls.Config // of both listeners; nil: no TLS
	logger     *slog.Logger
}

func upCommand() command {
	return command{
		name: "up", summary: "runs everything in one process, with SQLite files in a folder",
		setup: func(s *config.Set) runFunc {
			listen := declareListen(s, "127.0.0.1:8080", "where the chat room serves /ws and /v1")
			data := s.String("data", defaultData, "folder of the databases, made when missing", config.Value("DIR"), config.Check(config.NotEmpty))
			history := s.String("history-listen", "127.0.0.1:8081", "where up serves the history over gRPC",
				config.Value("ADDRESS"), config.Check(config.ListenAddress))
			chat := declareChat(s)
			handlers, reflection := declareHandlers(s), declareReflection(s)
			serverTLS := declareServerTLS(s)
			admin := declareAdmin(s, "127.0.0.1:9090")
			log := declareLog(s)
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("up takes no words: %q", args[0])
				}
				cfg := upConfig{
					listen: listen(), history: listenAddressOf(s, "history-listen", *history), admin: admin(),
					data: *data, dataOrigin: s.Origin("data"), handlers: *handlers, reflection: *reflection,
					chat: chat(), logger: log(std.err),
				}
				var err error
				if cfg.tls, err = serverTLS(cfg.logger); err != nil {
					return err
				}
				return stoppedEarly(ctx, runUp(ctx, cfg, std.out))
			}
		},
	}
}

// ---- WIRING BEGINS: the parts of all in one process, in their start order ----

func runUp(ctx context.Context, cfg upConfig, out io.Writer) error {
	return errors.New("up: the parts are not wired together yet")
}
