package scripted

import (
	"bufio"
	"io"
	"net"
	"sync"
)

// Conn is a client's connection.
type Conn struct {
	broker *Broker
	raw    net.Conn

	// Owned by serve.
	tags    map[uint16]uint64 // the last delivery tag of a publishing channel
	pending *Publishing       // waits for its header and body

	mu sync.Mutex // held while frames are written that belong together
}

// Publishing is a message that a client published.
type Publishing struct {
	Channel       uint16
	Tag           uint64 // counts from 1 on its channel
	Exchange, Key string
	Body          []byte

	header []byte
	left   uint64 // bytes of the body that are to come
}

// Properties of a message as AMQP encodes them: the flags, and then the fields.
type Properties []byte

// Cut closes the socket.
func (c *Conn) Cut() { _ = c.raw.Close() }

// serve answers until the connection ends.
func (c *Conn) serve() {
	r := bufio.NewReader(c.raw)
	if _, err := io.ReadFull(r, make([]byte, len("AMQP\x00\x00\x09\x01"))); err != nil {
		return
	}
	c.Method(0, ConnectionStart, Octet(0), Octet(9), Table(), Long("PLAIN"), Long("en_US"))
	for {
		f, err := readFrame(r)
		if err != nil {
			return
		}
		switch f.kind {
		case frameMethod:
			c.method(f)
		case frameHeader:
			c.header(f)
		case frameBody:
			c.body(f)
		case frameHeartbeat:
			c.mu.Lock()
			c.write(frameHeartbeat, 0, nil)
			c.mu.Unlock()
		}
	}
}

func (c *Conn) method(f frame) {
	m := Method{Channel: f.channel, ID: ID{be.Uint16(f.payload), be.Uint16(f.payload[2:])}, Args: f.payload[4:]}
	if m.ID == BasicPublish {
		exchange, rest := short(m.Args[2:])
		key, _ := short(rest)
		c.tags[m.Channel]++
		c.pending = &Publishing{Channel: m.Channel, Tag: c.tags[m.Channel], Exchange: exchange, Key: key}
		return
	}
	if m.ID == ChannelOpen {
		c.tags[m.Channel] = 0
	}
	if s := c.broker.playing(); s.Method != nil && s.Method(c, m) {
		return
	}
	c.Answer(m)
}

// Answer is the usual answer to a method.
func (c *Conn) Answer(m Method) {
	switch m.ID {
	case ConnectionStartOK:
		c.Method(0, ConnectionTune, Short16(100), Long32(128<<10), Short16(0))
	case ConnectionOpen:
		c.Method(0, ConnectionOpenOK, Short(""))
	case ConnectionClose:
		c.Method(0, ConnectionCloseOK)
	case ChannelOpen:
		c.Method(m.Channel, ChannelOpenOK, Long(""))
	case ChannelClose:
		c.Method(m.Channel, ChannelCloseOK)
	case QueueDeclare:
		name, _ := short(m.Args[2:])
		c.Method(m.Channel, QueueDeclareOK, Short(name), Long32(0), Long32(0))
	case BasicConsume:
		_, rest := short(m.Args[2:])
		tag, _ := short(rest)
		c.Method(m.Channel, BasicConsumeOK, Short(tag))
	case BasicCancel:
		tag, _ := short(m.Args)
		c.Method(m.Channel, BasicCancelOK, Short(tag))
	case ExchangeDeclare, QueueBind, BasicQos, ConfirmSelect:
		c.Method(m.Channel, ID{m.ID.Class, m.ID.Method + 1})
	}
}

func (c *Conn) header(f frame) {
	if c.pending == nil {
		return
	}
	c.pending.header, c.pending.left = f.payload, be.Uint64(f.payload[4:])
	c.published()
}

func (c *Conn) body(f frame) {
	if c.pending == nil {
		return
	}
	c.pending.Body = append(c.pending.Body, f.payload...)
	c.pending.left -= uint64(len(f.payload))
	c.published()
}

// published hands over a message that is complete.
func (c *Conn) published() {
	if c.pending.left > 0 {
		return
	}
	p := *c.pending
	c.pending = nil
	if s := c.broker.playing(); s.Publish != nil {
		s.Publish(c, p)
		return
	}
	c.Ack(p.Channel, p.Tag, false)
}

// Ack confirms a message, with multiple all up to it.
func (c *Conn) Ack(channel uint16, tag uint64, multiple bool) {
	c.Method(channel, BasicAck, Long64(tag), Bit(multiple))
}

// Nack refuses a message, with multiple all up to it.
func (c *Conn) Nack(channel uint16, tag uint64, multiple bool) {
	c.Method(channel, BasicNack, Long64(tag), Bit(multiple))
}

// Return gives a message back as one that no queue takes.
func (c *Conn) Return(p Publishing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(frameMethod, p.Channel, methodOf(BasicReturn, Short16(312), Short("NO_ROUTE"), Short(p.Exchange), Short(p.Key)))
	c.content(p.Channel, p.header, p.Body)
}

// Deliver sends a message to a consumer.
func (c *Conn) Deliver(channel uint16, consumer string, tag uint64, key string, props Properties, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(frameMethod, channel, methodOf(BasicDeliver, Short(consumer), Long64(tag), Bit(false), Short(""), Short(key)))
	header := be.AppendUint64(be.AppendUint16(be.AppendUint16(nil, BasicDeliver.Class), 0), uint64(len(body)))
	c.content(channel, append(header, props...), body)
}

// CloseChannel closes a channel with a code, as after a method that cannot be done.
func (c *Conn) CloseChannel(channel uint16, code uint16, text string, cause ID) {
	c.Method(channel, ChannelClose, Short16(code), Short(text), Short16(cause.Class), Short16(cause.Method))
}

// Cancel takes a consumer back, as when its queue is gone.
func (c *Conn) Cancel(channel uint16, consumer string) {
	c.Method(channel, BasicCancel, Short(consumer), Bit(true))
}

// Block raises an alarm, or with "" ends it.
func (c *Conn) Block(reason string) {
	if reason == "" {
		c.Method(0, ConnectionUnblocked)
		return
	}
	c.Method(0, ConnectionBlocked, Short(reason))
}

// Method sends a method.
func (c *Conn) Method(channel uint16, id ID, args ...[]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(frameMethod, channel, methodOf(id, args...))
}

func (c *Conn) content(channel uint16, header, body []byte) {
	c.write(frameHeader, channel, header)
	if len(body) > 0 {
		c.write(frameBody, channel, body)
	}
}

// write writes a frame; mu is held. A client that is gone is no error here.
func (c *Conn) write(kind byte, channel uint16, payload []byte) {
	_, _ = c.raw.Write(encodeFrame(frame{kind, channel, payload}))
}
