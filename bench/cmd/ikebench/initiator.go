//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// secret is what all prove themselves with.
const secret = "a secret of benchmarks, long enough"

// inFlight is how many handshakes are under way at once: enough that the responder always has work.
const inFlight = 16

// initiator is the machine of tunnel/ike with many peers, each another client of one responder.
type initiator struct {
	machine *ike.Endpoint
	socket  *net.UDPConn
	to      netip.AddrPort
	spis    atomic.Uint32

	buf      [1 << 16]byte
	up, down int
	reason   error // of the last that went down
	trouble  error // the last that the machine warned of
}

// Allocate implements ike.SPIs.
func (i *initiator) Allocate(string) (uint32, error) { return 0x1000 + i.spis.Add(1), nil }

// Release implements ike.SPIs.
func (i *initiator) Release(uint32) {}

func clientName(n int) string { return fmt.Sprintf("c%d.example", n) }

// clientNet is the network behind a client.
func clientNet(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + n>>16), byte(n >> 8), byte(n)}), 32)
}

func newInitiator(h *lab.Host, group string, clients int) (*initiator, error) {
	i := &initiator{to: netip.MustParseAddrPort(lab.PairB4 + ":4500")}
	err := h.Inside(func() (err error) {
		i.socket, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(lab.PairA4+":4500")))
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := i.socket.SetReadBuffer(4 << 20); err != nil {
		return nil, err
	}
	if i.machine, err = ike.New(ike.Config{Rand: rand.Reader, SPIs: i, Port: ike.NoPort}); err != nil {
		return nil, err
	}
	for n := range clients {
		if err := i.add(group, n); err != nil {
			return nil, err
		}
	}
	return i, nil
}

func (i *initiator) add(group string, n int) error {
	proposals, err := proposal.ParseIKE(proposalOf(group))
	if err != nil {
		return err
	}
	esp, _, err := proposal.ParseESP(espProposal + "-noesn")
	if err != nil {
		return err
	}
	name := clientName(n)
	_, err = i.machine.AddPeer(time.Now(), ike.PeerConfig{Name: name, Local: netip.MustParseAddr(lab.PairA4), Remote: i.to.Addr(), RemotePort: i.to.Port(),
		Encap: ike.EncapAlways, Proposals: proposals,
		Credentials: &ike.PSK{Secret: ike.Secret(secret), Local: identity(name), Remote: identity("gateway.example")},
		Children: []ike.ChildConfig{{Name: "c", Proposals: esp, Local: message.SelectorsOf([]netip.Prefix{clientNet(n)}),
			Remote: message.SelectorsOf([]netip.Prefix{netip.MustParsePrefix(behindGateway)})}}})
	return err
}

func identity(name string) message.ID { return message.ID{Type: message.IDFQDN, Data: []byte(name)} }

// bringUp brings up the clients of a range.
func (i *initiator) bringUp(ctx context.Context, from, to int) error {
	i.up, i.down = 0, 0
	for begun := from; i.up < to-from; {
		for ; begun < to && begun < from+i.up+inFlight; begun++ {
			actions, err := i.machine.Initiate(time.Now(), clientName(begun), "")
			if err := errors.Join(err, i.do(actions)); err != nil {
				return err
			}
		}
		if err := i.step(ctx); err != nil {
			return fmt.Errorf("%d of %d are up: %w", i.up, to-from, errors.Join(err, i.trouble))
		}
		if i.down > 0 {
			return i.reason
		}
	}
	return nil
}

// takeDown ends the clients of a range.
func (i *initiator) takeDown(ctx context.Context, from, to int) error {
	for n := from; n < to; n++ {
		actions, err := i.machine.Terminate(time.Now(), clientName(n), "")
		if err := errors.Join(err, i.do(actions)); err != nil {
			return err
		}
	}
	for i.down < to-from {
		if err := i.step(ctx); err != nil {
			return fmt.Errorf("%d of %d are down: %w", i.down, to-from, err)
		}
	}
	return nil
}

// step handles one datagram, or what is due by the clock.
func (i *initiator) step(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	buf := i.buf[:]
	if err := i.socket.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		return err
	}
	n, from, err := i.socket.ReadFromUDPAddrPort(buf)
	now := time.Now()
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return i.do(i.machine.Tick(now))
	case err != nil:
		return err
	case n < 4 || [4]byte(buf) != [4]byte{}:
		return nil // ESP or a keepalive
	}
	return i.do(i.machine.Receive(now, netip.MustParseAddrPort(lab.PairA4+":4500"), from, true, buf[4:n]))
}

func (i *initiator) do(actions []ike.Action) error {
	for _, a := range actions {
		switch a := a.(type) {
		case ike.Send:
			if _, err := i.socket.WriteToUDPAddrPort(append(make([]byte, 4), a.Datagram...), a.To); err != nil {
				return err
			}
		case ike.ChildUp:
			i.up++
		case ike.Log:
			if a.Level >= slog.LevelWarn {
				i.trouble = fmt.Errorf("%s: %s: %w", a.Peer, a.Text, a.Err)
			}
		case ike.IKEDown:
			i.down, i.reason = i.down+1, fmt.Errorf("%s: %w", a.Peer, a.Reason)
		}
	}
	return nil
}
