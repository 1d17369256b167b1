package warren_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// All mistakes of a configuration come at once, each with its place and what would be right.
func ExampleParseConfig() {
	_, err := warren.ParseConfig("site.yaml", []byte(`
underlay: {addresses: [192.0.2.1]}
vrfs:
  main: {port: {netstack: {addresses: [10.1.0.1]}}}
tunnels:
  b:
    ipsec: {remote: 192.0.2.2, psk: "a secret", start_action: soon}
`))
	var mistakes warren.ConfigErrors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Printf("line %d, %s: %s; want %s\n", m.Line, m.Key, m.Problem, m.Want)
		}
	}
	// Output:
	// line 4, vrfs.main.port.netstack.addresses[0]: "10.1.0.1" is no prefix; want its length too, as 10.1.0.1/32
	// line 7, tunnels.b.ipsec.start_action: "soon" is not known here; want none, start, start|trap, trap or trap|start
}

// parsed is the configuration of one of the sites.
func parsed(text string) *warren.Config {
	cfg, err := warren.ParseConfig("site.yaml", []byte(text))
	if err != nil {
		log.Fatal(err)
	}
	return cfg
}

// An engine that runs becomes what another configuration says. The tunnel, of which only the routes changed, keeps its SAs; what would
// need a restart is refused, and nothing is applied then.
func ExampleEngine_Apply() {
	ctx, cancel := context.WithCancel(context.Background())
	eng, err := warren.New(parsed(siteA), warren.WithNetwork(sim.New(sim.Config{})))
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- eng.Run(ctx) }()
	ln, err := eng.Listen("tcp", "10.1.0.1:80") // it runs now
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()

	second, more := parsed(siteA), netip.MustParsePrefix("10.22.0.0/16")
	second.Tunnels[0].Routes = append(second.Tunnels[0].Routes, warren.RouteConfig{Prefix: more})
	fmt.Println(eng.Apply(second))
	for _, r := range eng.Routes(more) {
		fmt.Println(r.Prefix, "via", r.Hops[0].Via)
	}

	third := parsed(siteA)
	third.Underlay.UDPPort = 4501
	err = eng.Apply(third)
	fmt.Println(errors.Is(err, warren.ErrNeedsRestart), err)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// <nil>
	// 10.22.0.0/16 via b
	// true changed, and that needs a restart: underlay.udp_port; nothing was applied
	// <nil>
}

// UDP through a tunnel: one engine answers what the other one asks.
func ExampleEngine_ListenPacket() {
	ctx, cancel := context.WithCancel(context.Background())
	network := sim.New(sim.Config{})
	var engines []*warren.Engine
	ended := make(chan error, 2)
	for _, text := range []string{siteA, siteB} {
		eng, err := warren.New(parsed(text), warren.WithNetwork(network))
		if err != nil {
			log.Fatal(err)
		}
		go func() { ended <- eng.Run(ctx) }()
		engines = append(engines, eng)
	}

	pc, err := engines[1].ListenPacket("udp", "10.2.0.1:53")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		buf := make([]byte, 1500)
		if n, from, err := pc.ReadFrom(buf); err == nil {
			_, _ = pc.WriteTo(append([]byte("you said "), buf[:n]...), from)
		}
	}()

	conn, err := engines[0].DialContext(ctx, "udp", "10.2.0.1:53")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(conn, "hello")
	buf := make([]byte, 1500)
	n, err := conn.Read(buf)
	fmt.Printf("%s %v\n", buf[:n], err)
	cancel()
	fmt.Println(<-ended, <-ended)
	// Output:
	// you said hello <nil>
	// <nil> <nil>
}
