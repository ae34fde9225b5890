package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/doctor"
)

// settleWithin bounds what takes a moment.
const settleWithin = 30 * time.Second

// examined runs `gochat doctor --json` and returns its reports by name. The exit code must say whether one failed.
func examined(t *testing.T, env []string, args ...string) map[string]doctor.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"doctor", "--json"}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	cmd.Dir = t.TempDir() // no .env of the repository
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var reports []doctor.Report
	if err := json.Unmarshal(out, &reports); err != nil {
		t.Fatalf("%v in %q, %s", err, out, stderr.String())
	}
	if got, want := cmd.ProcessState.ExitCode(), min(1, doctor.Failed(reports)); got != want {
		t.Errorf("exit code %d, want %d: %s", got, want, stderr.String())
	}
	all := make(map[string]doctor.Report)
	for _, r := range reports {
		all[r.Name] = r
	}
	return all
}

// wrong sees that the named checks failed with a remedy that holds the words, and that no other did.
func wrong(t *testing.T, all map[string]doctor.Report, remedies map[string]string) {
	t.Helper()
	for name, r := range all {
		remedy, expected := remedies[name]
		if (r.Status == doctor.Fail) != expected || expected && !strings.Contains(r.Remedy, remedy) {
			t.Errorf("%s: got %s, %q → %q", name, r.Status, r.Detail, r.Remedy)
		}
	}
	for name := range remedies {
		if _, ok := all[name]; !ok {
			t.Errorf("no check is called %q", name)
		}
	}
}

// healthy sees that all is well; the limits and the disk of the machine that tests run on are its own.
func healthy(t *testing.T, all map[string]doctor.Report, skipped ...string) {
	t.Helper()
	expected := make(map[string]doctor.Status)
	for _, name := range skipped {
		expected[name] = doctor.Skipped
	}
	for name, r := range all {
		want, listed := expected[name]
		if !listed {
			want = doctor.OK
		}
		if r.Status != want && !strings.HasPrefix(name, "machine ") {
			t.Errorf("%s: got %s, %q → %q; want %s", name, r.Status, r.Detail, r.Remedy, want)
		}
	}
}

// One installation, and one thing after the other broken in it.
func TestTheDoctorExaminesServices(t *testing.T) {
	t.Parallel()
	s := newSplit(t, brokerURL())
	s.privateDatabase(t) // tests' own server does not wait for the disk, which is what the doctor looks for
	persister := s.persister()
	chat := s.chatroom("--origins", "https://pages.example")
	ann := hello(t, chat.addr, "ann")
	ann.join("r", -1)
	ann.send("r", "1", "hello")
	ann.stored("r", 1)
	args := []string{"--server", "ws://" + chat.addr, "--history-addr", s.historyAddr, "--origins", "https://pages.example"}
	eventually(t, settleWithin, "the outbox is empty", func() error { // stored is told before the row leaves
		n, err := s.count("SELECT count(*) FROM chatroom.outbox")
		if err == nil && n > 0 {
			err = fmt.Errorf("%d rows", n)
		}
		return err
	})
	const noTLS = "services certificate"
	healthy(t, examined(t, s.env, args...), noTLS)

	open := s.chatroom("--origins", "*")
	args[1] = "ws://" + open.addr
	wrong(t, examined(t, s.env, args...), map[string]string{"services origins": "in the place of *"})
	all := examined(t, s.env, append(args, "--origins", "*")...)
	wrong(t, all, nil)
	if r := all["services origins"]; r.Status != doctor.Warn {
		t.Errorf("* that was asked for: got %+v", r)
	}
	args[1] = "ws://" + chat.addr
	wrong(t, examined(t, s.env, append(args, "--origins", "https://other.example")...), map[string]string{"services origins": "the same GOCHAT_ORIGINS"})

	conn, err := amqp.Dial(s.brokerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueUnbind(s.topology.MessageSentQueue(), events.MessageSentBinding, s.topology.EventsExchange(), nil); err != nil {
		t.Fatal(err)
	}
	wrong(t, examined(t, s.env, args...), map[string]string{"broker events binding": "start a chat room or a persister again"})
	if err := ch.QueueBind(s.topology.MessageSentQueue(), events.MessageSentBinding, s.topology.EventsExchange(), false, nil); err != nil {
		t.Fatal(err)
	}

	poison := amqp.Publishing{ContentType: events.ContentType, MessageId: "planted", Body: []byte("no JSON at all")}
	if err := ch.PublishWithContext(t.Context(), s.topology.EventsExchange(), events.MessageSentKey(0), true, false, poison); err != nil {
		t.Fatal(err)
	}
	eventually(t, settleWithin, "a dead letter", func() error {
		if n := deadLetters(t, s); n != 1 {
			return fmt.Errorf("%d letters", n)
		}
		return nil
	})
	wrong(t, examined(t, s.env, args...), map[string]string{"messages dead letters": "gochat dead list"})
	if _, err := ch.QueuePurge(s.topology.DeadLetterQueue(), false); err != nil {
		t.Fatal(err)
	}

	restore := func(epoch string) {
		err := s.query(func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "UPDATE chatroom.meta SET value = value || $1 WHERE key = 'epoch'", epoch)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	restore("x")
	wrong(t, examined(t, s.env, args...), map[string]string{"services epoch": "start the chat rooms again"})

	persister.kill()
	eventually(t, settleWithin, "the broker notices that the persister is gone", func() error {
		q, err := ch.QueueDeclarePassive(s.topology.MessageSentQueue(), true, false, false, false, nil)
		if err == nil && q.Consumers > 0 {
			err = fmt.Errorf("%d consumers", q.Consumers)
		}
		return err
	})
	wrong(t, examined(t, s.env, args...), map[string]string{
		"broker consumers": "gochat persister", "services history": "start a persister", "services epoch": "start the chat rooms again",
	})
	wrong(t, examined(t, append(s.env, "RABBITMQ_URL=amqp://guest:guest@"+freeAddr(t)+"/"), args...), map[string]string{
		"broker reachable": "is RabbitMQ running?", "services history": "start a persister", "services epoch": "start the chat rooms again",
	})
}

func TestTheDoctorExaminesAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	history := freeAddr(t)
	up := start(t, nil, "up", "--listen", "127.0.0.1:0", "--history-listen", history, "--admin-listen", "off", "--data", dir)
	ann := hello(t, up.addr, "ann")
	ann.join("r", -1)
	ann.send("r", "1", "hello")
	ann.stored("r", 1)
	args := []string{"--server", "ws://" + up.addr, "--history-addr", history, "--data", dir}
	settled := func() {
		t.Helper()
		eventually(t, settleWithin, "all is stored", func() error {
			if r := examined(t, nil, args...)["messages storage lag"]; r.Detail != "nothing waits to be stored" {
				return errors.New(r.Detail)
			}
			return nil
		})
	}
	settled()
	healthy(t, examined(t, nil, args...), "services certificate")
	ann.send("r", "2", "the doctor is in nobody's way")
	ann.stored("r", 2)
	settled()

	up.kill()
	before := listing(t, dir)
	all := examined(t, nil, args...)
	healthy(t, all, "database owner", "messages relay leases", "services history", "services chat room",
		"services epoch", "services origins", "services clock", "services certificate")
	if after := listing(t, dir); before != after {
		t.Errorf("looking changed the folder from %s to %s", before, after)
	}
	wrong(t, examined(t, nil, "--data", t.TempDir()), map[string]string{"database files": "--data"})
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
