package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/db"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/web"
)

// defaultData is below the working folder, where its owner sees it; up tells the full path at its start.
const defaultData = "gochat-data"

// defaultHistoryListen is where up serves the history, unless told otherwise.
const defaultHistoryListen = "127.0.0.1:8081"

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
	crash      *crash      // nil: none
	disturb    func(handler) handler
	logger     *slog.Logger
}

func upCommand() command {
	return command{
		name: "up", summary: "runs everything in one process, with SQLite files in a folder",
		setup: func(s *config.Set) runFunc {
			listen := declareListen(s, "127.0.0.1:8080", "where the chat room serves /ws and /v1")
			data := s.String("data", defaultData, "folder of the databases, made when missing", config.Value("DIR"), config.Check(config.NotEmpty))
			history := s.String("history-listen", defaultHistoryListen, "where up serves the history over gRPC",
				config.Value("ADDRESS"), config.Check(config.ListenAddress))
			chat := declareChat(s)
			handlers, reflection := declareHandlers(s), declareReflection(s)
			serverTLS := declareServerTLS(s)
			admin := declareAdmin(s, defaultChatAdmin)
			log := declareLog(s)
			crash, disturb := declareCrash(s), declareDisturb(s)
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("up takes no words: %q", args[0])
				}
				cfg := upConfig{
					listen: listen(), history: listenAddressOf(s, "history-listen", *history), admin: admin(),
					data: *data, dataOrigin: s.Origin("data"), handlers: *handlers, reflection: *reflection,
					chat: chat(), disturb: disturb, logger: log(std.err),
				}
				cfg.crash = crash(cfg.logger)
				var err error
				if cfg.tls, err = serverTLS(cfg.logger); err != nil {
					return err
				}
				return stoppedEarly(ctx, runUp(ctx, cfg, std.out))
			}
		},
	}
}

// runUp runs everything until ctx ends.
func runUp(ctx context.Context, cfg upConfig, out io.Writer) error {
	lock, err := db.LockDir(cfg.data)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // it ends with the process in any case
	if err := keepHistory(ctx, cfg.data); err != nil {
		return err
	}
	lis, err := cfg.listen.listen(ctx)
	if err != nil {
		return err
	}
	defer lis.Close() // after an orderly stop it is closed already
	historyLis, err := cfg.history.orFree(defaultHistoryListen).listen(ctx)
	if err != nil {
		return err
	}
	defer historyLis.Close()
	a, err := assemble(ctx, "up", cfg.logger, cfg.admin)
	if err != nil {
		return err
	}
	defer a.close()
	rooms, err := a.openFile(ctx, cfg.data, migrations.Chatroom)
	if err != nil {
		return err
	}
	stored, err := a.openFile(ctx, cfg.data, migrations.Persister)
	if err != nil {
		return err
	}
	t := bus.NewInProcess(cfg.logger)
	t.KeepDead(persister.NewDeadLetters(stored.Writer, stored.Reader).Put)
	a.onClose(t.Close)
	a.addPersister(t, historyLis, persisterParts{
		store: cfg.crash.persisterStore(persister.NewSQLite(stored.Writer, stored.Reader)), disturb: cfg.disturb,
		handlers: cfg.handlers, tls: cfg.tls, reflection: cfg.reflection,
	})
	history, err := a.dialHistory(historyConfig{
		addr: historyLis.Addr().String(), origin: "history", credentials: ownCredentials(cfg.tls),
	})
	if err != nil {
		return err
	}
	chat := store.NewSQLite(rooms)
	epoch, err := chat.Epoch(ctx)
	if err != nil {
		return err
	}
	a.recorder.Belongs(epoch)
	parts := chatParts{
		store: cfg.crash.chatStore(chat), outbox: cfg.crash.outboxStore(outbox.SQLite{DB: rooms.Writer, Read: rooms.Reader}),
		history: history, crash: cfg.crash, web: web.Handler(),
	}
	if err := a.addChatroom(ctx, t, cfg.chat, parts, secure(lis, cfg.tls)); err != nil {
		return err
	}
	data, err := filepath.Abs(cfg.data)
	if err != nil {
		return err
	}
	addr := lis.Addr().String()
	return a.run(ctx, out, fmt.Sprintf(`gochat listens on %s://%s
  page     %[1]s://%[2]s/
  client   gochat join --server %[3]s://%[2]s
  history  %[4]s (gRPC)
  data     %[5]s`, scheme("http", cfg.tls), addr, scheme("ws", cfg.tls), historyLis.Addr(), data))
}

// openFile opens a service's file in the data folder and brings it to this binary's version.
func (a *assembly) openFile(ctx context.Context, dir string, service migrations.Service) (*db.SQLite, error) {
	file, err := db.OpenSQLite(ctx, filepath.Join(dir, string(service)+".db"))
	if err != nil {
		return nil, err
	}
	a.onClose(file.Close)
	m, err := migrations.SQLite(file.Writer, service)
	if err != nil {
		return nil, err
	}
	if _, err := m.Up(ctx); err != nil {
		return nil, err
	}
	a.admin.AddCheck(string(service)+".db", file.Reader.PingContext)
	return file, nil
}

// ownCredentials trust this process's own certificate and nothing else: the chat room reads the history of its own
// process over loopback, whatever names the certificate has.
func ownCredentials(c *tls.Config) credentials.TransportCredentials {
	if c == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter: the very certificate that we serve
		VerifyConnection: func(peer tls.ConnectionState) error {
			own, err := c.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				return err
			}
			if !bytes.Equal(own.Certificate[0], peer.PeerCertificates[0].Raw) {
				return errors.New("another process answers on the history's port")
			}
			return nil
		},
	})
}
