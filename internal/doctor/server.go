package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

// server is the chat room's side of an examination.
type server struct {
	Config
	at       url.URL       // ws or wss, with /ws
	welcomed frame.Welcome // set when welcome has come to OK
}

const serverRemedy = "start a chat room, or name its address with --server"

// parse makes the address as the Go client does.
func (s *server) parse() error {
	u, err := url.Parse(s.Server)
	if err != nil || u.Host == "" {
		return errors.New("--server is no URL like ws://localhost:8080")
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	}
	if path := strings.TrimRight(u.Path, "/"); !strings.HasSuffix(path, "/ws") {
		u.Path = path + "/ws"
	}
	u.User = nil
	s.at = *u
	return nil
}

func (s *server) secure() bool { return s.at.Scheme == "wss" }

// dial shakes hands. Where the server answers without a WebSocket there is no connection and no error; its HTTP status
// says why.
func (s *server) dial(ctx context.Context, origin string) (conn *websocket.Conn, code int, err error) {
	d := websocket.Dialer{Subprotocols: []string{frame.Protocol}, TLSClientConfig: s.ServerTLS.Clone(), Proxy: http.ProxyFromEnvironment}
	header := http.Header{"User-Agent": {applicationName}}
	if origin != "" {
		header.Set("Origin", origin)
	}
	conn, resp, err := d.DialContext(ctx, s.at.String(), header)
	if resp != nil {
		_ = resp.Body.Close() // of a failed handshake; it is in memory
	}
	if errors.Is(err, websocket.ErrBadHandshake) && resp != nil {
		return nil, resp.StatusCode, nil
	}
	if err != nil {
		return nil, 0, connectError(err)
	}
	return conn, resp.StatusCode, nil
}

// connectError takes the layers off the reason why there is no connection.
func connectError(err error) error {
	if op, is := errorsAs[*net.OpError](err); is && op.Err != nil && op.Op == "dial" {
		var inner error = op
		for next := errors.Unwrap(inner); next != nil; next = errors.Unwrap(inner) {
			inner = next
		}
		return fmt.Errorf("no connection: %w", inner)
	}
	return plainTLS(err)
}

// plainTLS is the explanation of a TLS error without the error, which would come after the remedy.
func plainTLS(err error) error {
	if text, found := strings.CutSuffix(tlsfiles.Explain(err).Error(), ": "+err.Error()); found {
		return errors.New(text)
	}
	return err
}

// welcome says hello, and no more: it joins no room.
func (s *server) welcome(ctx context.Context) outcome {
	start := time.Now()
	conn, code, err := s.dial(ctx, "")
	switch {
	case err != nil:
		return failErr(err, serverRemedy)
	case conn == nil:
		return fail("is --server the address of a chat room, and does a proxy in between pass WebSockets through?", "it answers %d %s and no WebSocket", code, http.StatusText(code))
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	hello := frame.Client{Type: frame.TypeHello, Token: s.Token, Agent: applicationName}
	if s.Token == "" {
		hello.Name = s.Name
	}
	if err := conn.WriteMessage(websocket.TextMessage, frame.Encode(hello)); err != nil {
		return failErr(fmt.Errorf("say hello: %w", err), serverRemedy)
	}
	conn.SetReadLimit(frame.MaxFrame)
	_, b, err := conn.ReadMessage()
	if err != nil {
		return failErr(fmt.Errorf("no welcome: %w", err), "look at the chat room's log; where it wants a token, give --token")
	}
	var answer struct {
		frame.Welcome
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return fail("is --server the address of a chat room?", "the answer to hello is no frame")
	}
	if answer.Type != frame.TypeWelcome || answer.Welcome.Protocol != frame.Protocol {
		return fail("where the chat room wants a token, give --token", "no welcome but %s: %s %s %s",
			oneLine(answer.Type), oneLine(answer.Welcome.Protocol), oneLine(answer.Code), oneLine(answer.Message))
	}
	s.welcomed = answer.Welcome
	until := time.Now().Add(time.Second)
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), until) // it leaves either way
	return ok("%s", told(s.welcomed, start))
}

// foreignOrigin belongs to nobody (RFC 2606).
const foreignOrigin = "https://doctor.invalid"

// origins knocks as a browser would: from a page that nobody listed, and from each that is.
func (s *server) origins(ctx context.Context) outcome {
	taken, status, err := s.knock(ctx, foreignOrigin)
	if err != nil {
		return failErr(err, serverRemedy)
	}
	anybody := slices.Contains(s.Origins, "*")
	switch {
	case taken && anybody:
		return warn("list the origins of your pages in GOCHAT_ORIGINS", "pages of any origin may connect, as * in GOCHAT_ORIGINS asks for")
	case taken:
		return fail("list the origins of your pages in GOCHAT_ORIGINS in the place of *, and start the chat room again",
			"a page of %s was let in: any page in a browser can speak for its user", foreignOrigin)
	case status != http.StatusForbidden:
		return fail("look at the chat room's log and at what stands before it", "a page of %s got status %d, want 403", foreignOrigin, status)
	case anybody:
		return warn("give the chat room and the doctor the same settings", "GOCHAT_ORIGINS has *, but the chat room refuses %s", foreignOrigin)
	}
	const most = 5 // knocks
	for _, origin := range s.Origins[:min(len(s.Origins), most)] {
		taken, status, err := s.knock(ctx, origin)
		if err != nil {
			return failErr(err, serverRemedy)
		}
		if !taken {
			return fail("give the chat room the same GOCHAT_ORIGINS, and start it again", "GOCHAT_ORIGINS lists %s, but the chat room refuses it with status %d", origin, status)
		}
	}
	if len(s.Origins) == 0 {
		return ok("pages of other hosts are refused")
	}
	return ok("let in beside the own host: %s; others are refused", strings.Join(s.Origins, ", "))
}

func (s *server) knock(ctx context.Context, origin string) (taken bool, code int, err error) {
	conn, code, err := s.dial(ctx, origin)
	if err != nil || conn == nil {
		return false, code, err
	}
	return true, code, conn.Close()
}

// clock reads the Date of a refusal, which has whole seconds.
func (s *server) clock(ctx context.Context) outcome {
	start := time.Now()
	u := s.at
	u.Scheme = map[bool]string{true: "https", false: "http"}[s.secure()]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return failErr(err, serverRemedy)
	}
	transport := &http.Transport{TLSClientConfig: s.ServerTLS.Clone(), Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return failErr(connectError(err), serverRemedy)
	}
	_ = resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return skip("the chat room's answer has no date")
	}
	half := time.Since(start) / 2
	return skew(date.Add(500*time.Millisecond).Sub(start.Add(half)), half+500*time.Millisecond, "the chat room")
}

// certificate looks at what is presented, also where it is not to be trusted; nothing is said over that connection.
func (s *server) certificate(ctx context.Context) outcome {
	if !s.secure() {
		return skip("the address is %s://, without TLS", s.at.Scheme)
	}
	cfg := s.ServerTLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	roots := cfg.RootCAs
	cfg.InsecureSkipVerify = true //nolint:gosec // it is verified below, so that its dates can be told as well
	addr := s.at.Host
	if s.at.Port() == "" {
		addr = net.JoinHostPort(s.at.Hostname(), "443")
	}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return failErr(connectError(err), serverRemedy)
	}
	defer conn.Close()
	peers := conn.(*tls.Conn).ConnectionState().PeerCertificates
	if got := dates(peers[0], time.Now()); got.status == Fail {
		return got
	}
	between := x509.NewCertPool()
	for _, c := range peers[1:] {
		between.AddCert(c)
	}
	if _, err := peers[0].Verify(x509.VerifyOptions{DNSName: s.at.Hostname(), Roots: roots, Intermediates: between}); err != nil {
		return failErr(plainTLS(err), "name the authority with --ca, or get a certificate that clients trust")
	}
	return dates(peers[0], time.Now())
}
