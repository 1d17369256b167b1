package handshake

import (
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn/bindtest"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// BenchmarkResponder is how long a core takes to answer an initiation and to have the keys, here and in wireguard-go. An op is
// as many handshakes, each of another peer.
func BenchmarkResponder(b *testing.B) {
	const peers = 64
	key := NewPrivateKey()
	to := key.Public()
	initiations := func(b *testing.B) (names []PublicKey, messages [][]byte) {
		for range peers {
			id := must(newIdentity(NewPrivateKey()))
			var secret [KeySize]byte
			err := multiply(&secret, &id.private, to[:])
			if err != nil {
				b.Fatal(err)
			}
			_, noise, err := initiate(id, to, secret, stamp(time.Now()))
			if err != nil {
				b.Fatal(err)
			}
			m := Initiation{Sender: 1, Noise: noise}
			bytes := m.Append(nil)
			new(purse).sign(start, to, bytes)
			names, messages = append(names, id.public), append(messages, bytes)
		}
		return names, messages
	}
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/peers, "ns/handshake")
	}
	b.Run("ours", func(b *testing.B) {
		h := newHost(b, "ours", key, newPair(&testing.T{}, 1).rnd, time.Now, time.Now, newLedger(b))
		for b.Loop() {
			b.StopTimer()
			names, messages := initiations(b)
			for i, name := range names {
				h.add(PeerConfig{PublicKey: name}, address(i))
			}
			b.StartTimer()
			for _, m := range messages {
				if drop := h.d.HandleMessage(time.Now(), m, address(1), false); drop != None {
					b.Fatal(drop)
				}
				h.d.Actions()
			}
		}
		report(b)
	})
	b.Run("wireguard-go", func(b *testing.B) {
		dev := device.NewDevice(tuntest.NewChannelTUN().TUN(), bindtest.NewChannelBinds()[0], device.NewLogger(device.LogLevelSilent, ""))
		defer dev.Close()
		if err := dev.SetPrivateKey(device.NoisePrivateKey(key)); err != nil {
			b.Fatal(err)
		}
		var checker device.CookieChecker
		checker.Init(device.NoisePublicKey(to))
		for b.Loop() {
			b.StopTimer()
			dev.RemoveAllPeers()
			names, messages := initiations(b)
			for _, name := range names {
				must(dev.NewPeer(device.NoisePublicKey(name))).Start()
			}
			b.StartTimer()
			for _, m := range messages {
				answerAsWireguardGo(b, dev, &checker, m)
			}
		}
		report(b)
	})
}

// answerAsWireguardGo is what wireguard-go's handshake worker does with an initiation, but for the sending.
func answerAsWireguardGo(b *testing.B, dev *device.Device, checker *device.CookieChecker, m []byte) {
	in, _ := ParseInitiation(m)
	msg := device.MessageInitiation{Type: 1, Sender: in.Sender, Ephemeral: device.NoisePublicKey(in.Noise[:32]),
		Static: [48]byte(in.Noise[32:]), Timestamp: [28]byte(in.Noise[80:]), MAC1: in.MAC1, MAC2: in.MAC2}
	if !checker.CheckMAC1(m) {
		b.Fatal("mac1")
	}
	peer := dev.ConsumeMessageInitiation(&msg)
	if peer == nil {
		b.Fatal("wireguard-go refuses it")
	}
	if _, err := dev.CreateMessageResponse(peer); err != nil {
		b.Fatal(err)
	}
	if err := peer.BeginSymmetricSession(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAnswer(b *testing.B) {
	w := newPair(&testing.T{}, 1)
	in := initiationTo(&testing.T{}, w, 1)
	d, from := w.hosts[1].d, address(0)
	b.Run("prepare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if m := d.Prepare(w.now, in, from, false, Knock{}); m.Drop() != None {
				b.Fatal(m.Drop())
			}
		}
	})
	b.Run("refuse by a cookie", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, CookieReplySize)
		for b.Loop() {
			by, _ := d.Knocks(in)
			m := d.Prepare(w.now, in, from, true, by)
			m.Refusal(buf)
		}
	})
	b.Run("bad mac1", func(b *testing.B) {
		in[3+100] ^= 1
		b.ReportAllocs()
		for b.Loop() {
			d.HandleMessage(w.now, in, from, true)
		}
	})
}

func BenchmarkIdlePeers(b *testing.B) {
	w := newPair(&testing.T{}, 1)
	d := w.hosts[0].d
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		key := NewPrivateKey().Public()
		b.StartTimer()
		if _, err := d.AddPeer(start, PeerConfig{PublicKey: key}); err != nil {
			b.Fatal(err)
		}
	}
}
