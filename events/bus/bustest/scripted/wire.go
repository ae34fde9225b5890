package scripted

import (
	"encoding/binary"
	"io"
	"slices"
)

// The wire format of AMQP 0-9-1, §4.2: a frame is a type, a channel, a size, a payload and an end octet.
const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8
	frameEnd       = 0xCE
)

var be = binary.BigEndian

type frame struct {
	kind    byte
	channel uint16
	payload []byte
}

func readFrame(r io.Reader) (frame, error) {
	var head [7]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: head[0], channel: be.Uint16(head[1:]), payload: make([]byte, be.Uint32(head[3:]))}
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, err
	}
	_, err := io.ReadFull(r, head[:1])
	return f, err
}

func encodeFrame(f frame) []byte {
	b := be.AppendUint32(be.AppendUint16([]byte{f.kind}, f.channel), uint32(len(f.payload)))
	return append(append(b, f.payload...), frameEnd)
}

// ID names a method.
type ID struct{ Class, Method uint16 }

// Method is a method of a client; its arguments are encoded.
type Method struct {
	Channel uint16
	ID      ID
	Args    []byte
}

// The methods that are spoken here.
var (
	ConnectionStart     = ID{10, 10}
	ConnectionStartOK   = ID{10, 11}
	ConnectionTune      = ID{10, 30}
	ConnectionOpen      = ID{10, 40}
	ConnectionOpenOK    = ID{10, 41}
	ConnectionClose     = ID{10, 50}
	ConnectionCloseOK   = ID{10, 51}
	ConnectionBlocked   = ID{10, 60}
	ConnectionUnblocked = ID{10, 61}
	ChannelOpen         = ID{20, 10}
	ChannelOpenOK       = ID{20, 11}
	ChannelClose        = ID{20, 40}
	ChannelCloseOK      = ID{20, 41}
	ExchangeDeclare     = ID{40, 10}
	QueueDeclare        = ID{50, 10}
	QueueDeclareOK      = ID{50, 11}
	QueueBind           = ID{50, 20}
	BasicQos            = ID{60, 10}
	BasicConsume        = ID{60, 20}
	BasicConsumeOK      = ID{60, 21}
	BasicCancel         = ID{60, 30}
	BasicCancelOK       = ID{60, 31}
	BasicPublish        = ID{60, 40}
	BasicReturn         = ID{60, 50}
	BasicDeliver        = ID{60, 60}
	BasicAck            = ID{60, 80}
	BasicNack           = ID{60, 120}
	ConfirmSelect       = ID{85, 10}
)

func methodOf(id ID, args ...[]byte) []byte {
	return slices.Concat(be.AppendUint16(be.AppendUint16(nil, id.Class), id.Method), slices.Concat(args...))
}

// Octet encodes an octet.
func Octet(v byte) []byte { return []byte{v} }

// Bit encodes one flag alone in its octet.
func Bit(v bool) []byte {
	if v {
		return []byte{1}
	}
	return []byte{0}
}

// Short16 encodes a short.
func Short16(v uint16) []byte { return be.AppendUint16(nil, v) }

// Long32 encodes a long.
func Long32(v uint32) []byte { return be.AppendUint32(nil, v) }

// Long64 encodes a longlong.
func Long64(v uint64) []byte { return be.AppendUint64(nil, v) }

// Short encodes a short string.
func Short(v string) []byte { return append([]byte{byte(len(v))}, v...) }

// Long encodes a long string.
func Long(v string) []byte { return append(be.AppendUint32(nil, uint32(len(v))), v...) }

// Table encodes a table; fields come from [Field].
func Table(fields ...[]byte) []byte {
	all := slices.Concat(fields...)
	return append(be.AppendUint32(nil, uint32(len(all))), all...)
}

// Field is a field of a table, with the letter of its type.
func Field(name string, kind byte, value []byte) []byte {
	return slices.Concat(Short(name), []byte{kind}, value)
}

// short decodes a short string.
func short(b []byte) (string, []byte) {
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:]
}

// MessageProperties encodes a content type, headers and a message id.
func MessageProperties(contentType string, headers []byte, id string) Properties {
	const contentTypeFlag, headersFlag, messageIDFlag = 1 << 15, 1 << 13, 1 << 7
	return slices.Concat(Short16(contentTypeFlag|headersFlag|messageIDFlag), Short(contentType), headers, Short(id))
}

// DeliveryTag is the tag in a client's ack or nack.
func (m Method) DeliveryTag() uint64 { return be.Uint64(m.Args) }

// Multiple tells whether it stands for all earlier deliveries too.
func (m Method) Multiple() bool { return m.Args[8]&1 != 0 }

// Name is the first name in a declaration or a consume.
func (m Method) Name() string {
	name, _ := short(m.Args[2:])
	return name
}
