package netstack

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// pingInterval is how long Ping waits before it asks once more.
const pingInterval = time.Second

// pingBody is the length of an echo request's data in bytes, all random so that only an answer to it is taken for one.
const pingBody = 16

// Ping sends echo requests (RFC 792, RFC 4443 section 4.1), one a second, until one is answered or ctx is done. It
// returns the time from the answered request to its reply. Errors are *net.OpError.
func (p *Port) Ping(ctx context.Context, to netip.Addr) (time.Duration, error) {
	to = to.Unmap()
	rtt, err := p.ping(ctx, to)
	if err != nil {
		return 0, opError("ping", "ip", nil, &net.IPAddr{IP: to.AsSlice()}, err, false)
	}
	return rtt, nil
}

func (p *Port) ping(ctx context.Context, to netip.Addr) (time.Duration, error) {
	if !to.IsValid() || to.Zone() != "" {
		return 0, &net.AddrError{Err: "not an address to ping", Addr: to.String()}
	}
	transport := icmp.ProtocolNumber4
	if to.Is6() {
		transport = icmp.ProtocolNumber6
	}
	var wq waiter.Queue
	ep, err := p.stack.NewEndpoint(transport, protocolOf(to), &wq)
	if err != nil {
		return 0, errorOf(err)
	}
	defer ep.Close()
	if err := ep.Connect(tcpip.FullAddress{Addr: tcpip.AddrFromSlice(to.AsSlice())}); err != nil {
		return 0, errorOf(err)
	}
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)

	again := time.NewTicker(pingInterval)
	defer again.Stop()
	var sent []time.Time // by sequence number
	body := make([]byte, pingBody)
	rand.Read(body)
	for {
		sent = append(sent, time.Now())
		if _, err := ep.Write(bytes.NewReader(echoRequest(to, uint16(len(sent)-1), body)), tcpip.WriteOptions{}); err != nil {
			return 0, fmt.Errorf("send an echo request: %w", errorOf(err))
		}
	wait:
		for {
			if seq, ok := readReply(ep, body); ok && seq < len(sent) {
				return time.Since(sent[seq]), nil
			}
			select {
			case <-ctx.Done():
				return 0, ctxError(ctx)
			case <-p.done:
				return 0, net.ErrClosed
			case <-again.C:
				break wait
			case <-ready:
			}
		}
	}
}

// echoRequest returns an echo request without identifier, which the stack fills in together with the checksum.
func echoRequest(to netip.Addr, seq uint16, body []byte) []byte {
	b := make([]byte, header.ICMPv4MinimumSize, header.ICMPv4MinimumSize+len(body))
	b[0] = byte(header.ICMPv4Echo)
	if to.Is6() {
		b[0] = byte(header.ICMPv6EchoRequest)
	}
	binary.BigEndian.PutUint16(b[6:], seq)
	return append(b, body...)
}

// readReply takes out what has come, and returns the sequence number of the first reply that bears the body.
func readReply(ep tcpip.Endpoint, body []byte) (seq int, ok bool) {
	var buf bytes.Buffer
	for {
		buf.Reset()
		if _, err := ep.Read(&buf, tcpip.ReadOptions{}); err != nil {
			return 0, false
		}
		b := buf.Bytes()
		if len(b) >= header.ICMPv4MinimumSize && bytes.Equal(b[header.ICMPv4MinimumSize:], body) {
			return int(binary.BigEndian.Uint16(b[6:])), true
		}
	}
}
