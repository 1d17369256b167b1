package warren

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike"
)

// reportWithin bounds how long a status waits for the machine.
const reportWithin = 2 * time.Second

// report tells of all IKE SAs, by the tunnels that they key.
func (k *keying) report() map[*tunnel][]ike.IKEStatus {
	if k == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), reportWithin)
	defer cancel()
	all := make(chan map[*tunnel][]ike.IKEStatus, 1)
	err := k.call(ctx, func(time.Time) ([]ike.Action, error) {
		by := map[*tunnel][]ike.IKEStatus{}
		for _, st := range k.endpoint.Status() {
			if t := k.tunnelOf(&st.IKE); t != nil {
				by[t] = append(by[t], st)
			}
		}
		all <- by
		return nil, nil
	})
	if err != nil {
		return nil // the engine begins or ends: there is nothing to tell of
	}
	return <-all
}

// childStatus tells of the child SAs; negotiated is what the machine knows of them.
func (t *tunnel) childStatus(ts *TunnelStatus, negotiated []ike.IKEStatus) {
	known := map[uint32]*ike.ChildStatus{}
	for i := range negotiated {
		for j := range negotiated[i].Children {
			c := &negotiated[i].Children[j]
			known[c.In] = c
		}
	}
	sealing := t.ipsec.Sealing()
	for _, c := range t.ipsec.Children() {
		use := c.Use()
		cs := ChildStatus{Name: c.Name, State: "INSTALLED", Suite: c.Out.Suite().String(), ESN: c.Out.ESN(), SPIOut: spi(c.Out.SPI()), SPIIn: spi(c.In.SPI()),
			Sent: c.Out.Sent(), Received: c.In.Received(), ReplayWindow: c.In.ReplayWindow(),
			OutPackets: use.OutPackets, OutBytes: use.OutBytes, InPackets: use.InPackets, InBytes: use.InBytes}
		for _, ts := range c.Local {
			cs.LocalTS = append(cs.LocalTS, ts.String())
		}
		for _, ts := range c.Remote {
			cs.RemoteTS = append(cs.RemoteTS, ts.String())
		}
		if k := known[c.In.SPI()]; k != nil {
			cs.State, cs.Since, cs.Rekey, cs.Expires = k.State, k.Installed, k.Soft, k.Hard
		} else if !slices.Contains(sealing, c) {
			cs.State = "DELETED"
		}
		ts.Children = append(ts.Children, cs)
	}
	for _, c := range sealing {
		if !c.Out.Exhausted() {
			ts.State = "up"
		}
	}
}

// ikeStatus tells of the IKE SAs that key a tunnel.
func ikeStatus(negotiated []ike.IKEStatus) (all []IKEStatus) {
	for i := range negotiated {
		st := &negotiated[i]
		is := IKEStatus{State: st.State, SPIInitiator: fmt.Sprintf("%016x", st.SPIs.Initiator), SPIResponder: fmt.Sprintf("%016x", st.SPIs.Responder),
			Initiator: st.Initiator, Suite: st.Suite, Local: st.Path.Local, Remote: st.Path.Remote,
			Since: st.Established, Heard: st.Heard, Rekey: st.Rekey, Reauth: st.Reauth, Leased: st.Leased.Addresses}
		if st.LocalID.Type != 0 {
			is.LocalID = st.LocalID.String()
		}
		if st.RemoteID.Type != 0 {
			is.RemoteID = st.RemoteID.String()
		}
		all = append(all, is)
	}
	return all
}
