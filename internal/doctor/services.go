package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

// addServices adds what the services' addresses show. running is what must be OK before their being away is wrong.
func (e *Examination) addServices(c Config, v *outboxView, chatroom *check, running ...*check) {
	if c.Data == "" {
		running = nil
	}
	e.add(sectionServices, "history", func(ctx context.Context) outcome { return history(ctx, c) }, running...)
	s := &server{Config: c}
	if err := s.parse(); err != nil {
		e.add(sectionServices, "chat room", func(context.Context) outcome { return failErr(err, "correct --server") }, running...)
		return
	}
	room := e.add(sectionServices, "chat room", s.welcome, running...)
	e.add(sectionServices, "epoch", func(ctx context.Context) outcome { return s.epoch(ctx, v) }, room, chatroom)
	e.add(sectionServices, "origins", s.origins, room)
	e.add(sectionServices, "clock", s.clock, room)
	e.add(sectionServices, "certificate", s.certificate, running...)
}

// history asks the persister whether it serves, and to read, which needs its database.
func history(ctx context.Context, c Config) outcome {
	const remedy = "start a persister, or name its address with --history-addr (and --history-tls)"
	creds := c.HistoryCredentials
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(c.HistoryAddr, grpc.WithTransportCredentials(creds), grpc.WithUserAgent(applicationName))
	if err != nil {
		return failErr(err, remedy)
	}
	defer conn.Close()
	start := time.Now()
	health, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: historyv1.HistoryService_ServiceDesc.ServiceName})
	if err != nil {
		return fail(remedy, "%s: %s", c.HistoryAddr, grpcReason(err))
	}
	if s := health.GetStatus(); s != healthv1.HealthCheckResponse_SERVING {
		return fail("it starts or stops; look again, and at its log", "%s is %s", c.HistoryAddr, s)
	}
	if _, err := historyv1.NewHistoryServiceClient(conn).ListEvents(ctx, &historyv1.ListEventsRequest{Room: "doctor", Limit: 1}); err != nil {
		return fail("look at the persister's log, and /readyz of its admin listener", "%s serves but cannot read: %s", c.HistoryAddr, grpcReason(err))
	}
	return ok("SERVING at %s, read %s", c.HistoryAddr, took(start))
}

// grpcReason is the innermost reason of a status; gRPC has only texts for it.
func grpcReason(err error) string {
	text := status.Convert(err).Message()
	if _, rest, dialing := strings.Cut(text, "Error while dialing: "); dialing {
		text = rest[strings.LastIndex(rest, ": ")+1:]
	}
	return strings.Trim(oneLine(strings.TrimPrefix(text, "connection error: desc = ")), `" `)
}

// epoch sees that the chat room lives on the database that is examined, and on this life of it.
func (s *server) epoch(ctx context.Context, v *outboxView) outcome {
	epoch, err := v.facts.epoch(ctx)
	if err != nil {
		return failErr(err, "")
	}
	if epoch != s.welcomed.Epoch {
		return fail("does --server belong to this database? after a restore, start the chat rooms again",
			"the chat room has epoch %q, the database %q", oneLine(s.welcomed.Epoch), oneLine(epoch))
	}
	return ok("the chat room's and the database's are equal")
}

// told describes a welcome.
func told(w frame.Welcome, start time.Time) string {
	return fmt.Sprintf("welcome by gochat %s, %s, %s", oneLine(w.Server), oneLine(w.Protocol), took(start))
}
