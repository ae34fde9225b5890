package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/migrations"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/web"
)

// chatroomConfig is all that the chat room service needs to know.
type chatroomConfig struct {
	listen   listenAddress
	admin    listenAddress
	database namedURL
	broker   brokerConfig
	history  historyConfig
	chat     chatConfig
	tls      *tls.Config // of the listener; nil: no TLS
	ca       *tls.Config // for connections that this process makes
	crash    *crash      // nil: none
	logger   *slog.Logger
}

func chatroomCommand() command {
	return command{
		name: "chatroom", summary: "runs the WebSocket service over PostgreSQL and RabbitMQ",
		setup: func(s *config.Set) runFunc {
			listen := declareListen(s, ":8080", "where the chat room serves /ws and /v1")
			database, broker := declareDatabase(s), declareBroker(s)
			ca := declareCA(s)
			history := declareHistory(s, ca)
			chat := declareChat(s)
			serverTLS := declareServerTLS(s)
			admin := declareAdmin(s, defaultChatAdmin)
			log := declareLog(s)
			crash := declareCrash(s)
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("chatroom takes no words: %q", args[0])
				}
				cfg := chatroomConfig{
					listen: listen(), admin: admin(), database: database(), broker: broker(), chat: chat(), logger: log(std.err),
				}
				cfg.crash = crash(cfg.logger)
				var err error
				if cfg.history, err = history(); err != nil {
					return err
				}
				if cfg.ca, err = ca(); err != nil {
					return err
				}
				if cfg.tls, err = serverTLS(cfg.logger); err != nil {
					return err
				}
				return stoppedEarly(ctx, runChatroom(ctx, cfg, std.out))
			}
		},
	}
}

// runChatroom runs the service until ctx ends.
func runChatroom(ctx context.Context, cfg chatroomConfig, out io.Writer) error {
	lis, err := cfg.listen.listen(ctx)
	if err != nil {
		return err
	}
	defer lis.Close() // after an orderly stop it is closed already
	a, err := assemble(ctx, "chatroom", cfg.logger, cfg.admin)
	if err != nil {
		return err
	}
	defer a.close()
	pool, err := a.openPool(ctx, cfg.database, migrations.Chatroom)
	if err != nil {
		return err
	}
	t, err := a.dialBroker(ctx, cfg.broker, cfg.chat.instance, cfg.ca)
	if err != nil {
		return err
	}
	history, err := a.dialHistory(cfg.history)
	if err != nil {
		return err
	}
	parts := chatParts{
		store: cfg.crash.chatStore(store.NewPostgres(pool)), outbox: cfg.crash.outboxStore(outbox.Postgres{Pool: pool}),
		history: history, crash: cfg.crash, replicas: true, web: web.Handler(),
	}
	if err := a.addChatroom(ctx, t, cfg.chat, parts, secure(lis, cfg.tls)); err != nil {
		return err
	}
	return a.run(ctx, out, "gochat chatroom listens on "+scheme("ws", cfg.tls)+"://"+lis.Addr().String())
}
