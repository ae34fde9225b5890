package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/rafaeldepontes/go-chat/internal/doctor"
)

// nobody is an installation of which nothing runs, with passwords that must not be seen.
func nobody(t *testing.T) map[string]string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	_ = listener.Close() // nobody listens there now
	return map[string]string{
		"DATABASE_URL": "postgres://ann:geheim@" + host + "/chat", "RABBITMQ_URL": "amqp://ann:geheim@" + host + "/chat",
		"GOCHAT_SERVER": "ws://ann:geheim@" + host, "GOCHAT_TOKEN": "geheim", "GOCHAT_HISTORY_ADDR": host,
	}
}

func TestDoctorTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	env := nobody(t)
	out, stderr, err := call(t, env, "doctor")
	if err == nil || exitCode(err) != 1 || stderr != "" {
		t.Errorf("got %v, %q", err, stderr)
	}
	if strings.Contains(out, "geheim") || strings.Contains(out, "\x1b") {
		t.Errorf("a password, or colours without a terminal, in\n%s", out)
	}
	for _, want := range []string{"\nDatabase\n  ✗ reachable ", "\nBroker\n  ✗ reachable ", "\nServices\n  ✗ history ", "  ✗ chat room ", " → is PostgreSQL running?", " → is RabbitMQ running?"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}

	out, _, err = call(t, env, "doctor", "--json")
	if err == nil || exitCode(err) != 1 {
		t.Errorf("--json: got %v", err)
	}
	var reports []doctor.Report
	if err := json.Unmarshal([]byte(out), &reports); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if len(reports) == 0 || reports[0].Name != "database reachable" || reports[0].Status != doctor.Fail || reports[0].Detail == "" || reports[0].Remedy == "" {
		t.Errorf("got %+v", reports)
	}
	if strings.Contains(out, "geheim") {
		t.Errorf("a password in %s", out)
	}
}

func TestDoctorTakesNoWords(t *testing.T) {
	t.Parallel()
	if _, _, err := call(t, nil, "doctor", "database"); exitCode(err) != 2 {
		t.Errorf("got %v", err)
	}
}
