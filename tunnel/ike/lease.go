package ike

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// The configuration payload (RFC 7296 sections 2.19, 3.15): addresses that a responder lends.

// askFor returns the request of an initiator that wants addresses.
func askFor(want []netip.Addr) *message.CP {
	if len(want) == 0 {
		return nil
	}
	cp := &message.CP{Type: message.ConfigRequest}
	for _, a := range want {
		attr := message.ConfigAttribute{Type: message.InternalIP4Address}
		dns := message.InternalIP4DNS
		if a.Is6() {
			attr.Type, dns = message.InternalIP6Address, message.InternalIP6DNS
		}
		if !a.IsUnspecified() {
			attr = addressAttribute(a)
		}
		cp.Attributes = append(cp.Attributes, attr, message.ConfigAttribute{Type: dns})
	}
	return cp
}

func addressAttribute(a netip.Addr) message.ConfigAttribute {
	if a.Is6() {
		return message.ConfigPrefix(message.InternalIP6Address, netip.PrefixFrom(a, 128))
	}
	return message.ConfigAddr(message.InternalIP4Address, a)
}

// given reads what a responder lent.
func given(payloads []message.Payload) Lease {
	var l Lease
	cp := message.Find[*message.CP](payloads)
	if cp == nil || cp.Type != message.ConfigReply {
		return l
	}
	for _, a := range cp.Attributes {
		addr, ok := a.Addr()
		if !ok {
			continue
		}
		switch a.Type {
		case message.InternalIP4Address, message.InternalIP6Address:
			l.Addresses = append(l.Addresses, addr)
		case message.InternalIP4DNS, message.InternalIP6DNS:
			l.DNS = append(l.DNS, addr)
		}
	}
	return l
}

var (
	errNoPool  = errors.New("it asks for an address, and there is no pool")
	errNoLease = errors.New("the pool gave no address")
)

// lend answers a request for addresses. There is no answer to no request.
func (sa *ikeSA) lend(cp *message.CP) (*message.CP, error) {
	if cp == nil || cp.Type != message.ConfigRequest {
		return nil, nil
	}
	var asked []netip.Addr
	for _, a := range cp.Attributes {
		any4 := a.Type == message.InternalIP4Address
		if !any4 && a.Type != message.InternalIP6Address {
			continue
		}
		addr, ok := a.Addr()
		if !ok {
			addr = netip.IPv6Unspecified()
			if any4 {
				addr = netip.IPv4Unspecified()
			}
		}
		asked = append(asked, addr)
	}
	if len(asked) == 0 {
		return nil, nil
	}
	if sa.peer.cfg.Pool == nil {
		return nil, errNoPool
	}
	if !sa.takeOver(asked) {
		lease, err := sa.peer.cfg.Pool.Lease(sa.name(), sa.ids.remote, asked)
		if err != nil {
			return nil, err
		}
		if len(lease.Addresses) == 0 {
			return nil, errNoLease
		}
		sa.leased = lease
	}
	return leaseReply(sa.leased), nil
}

// takeOver has a peer that authenticates anew keep what it was lent, if it asks for that.
func (sa *ikeSA) takeOver(asked []netip.Addr) bool {
	for _, o := range sa.peer.sas {
		if o != sa && o.ids.remote.Equal(sa.ids.remote) && len(o.leased.Addresses) > 0 && slices.Equal(o.leased.Addresses, asked) {
			sa.leased, o.leased = o.leased, Lease{}
			return true
		}
	}
	return false
}

func leaseReply(lease Lease) *message.CP {
	answer := &message.CP{Type: message.ConfigReply}
	for _, a := range lease.Addresses {
		answer.Attributes = append(answer.Attributes, addressAttribute(a))
	}
	for _, a := range lease.DNS {
		t := message.InternalIP4DNS
		if a.Is6() {
			t = message.InternalIP6DNS
		}
		answer.Attributes = append(answer.Attributes, message.ConfigAddr(t, a))
	}
	return answer
}
