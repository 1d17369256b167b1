package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

// reloader reads the file of a running engine again.
type reloader struct {
	file  string
	log   *slog.Logger
	level *slog.LevelVar
	// engine is set before anybody asks.
	engine *warren.Engine

	mu sync.Mutex
}

// reload applies what the file says now. With mistakes in it the engine goes on as before. What went wrong is logged too: whoever
// sent a signal reads the log.
func (r *reloader) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := warren.LoadConfig(r.file)
	if err == nil {
		for _, w := range cfg.Warnings {
			r.log.Warn(w.String())
		}
		err = r.engine.Apply(cfg)
	}
	switch {
	case err == nil:
		r.level.Set(cfg.LogLevel())
	case errors.Is(err, warren.ErrPartlyApplied):
		r.level.Set(cfg.LogLevel())
		r.log.Error("configuration is not applied in full", "file", r.file, "error", err)
	default:
		r.log.Error("configuration is not applied, and the engine goes on as before", "file", r.file, "error", err)
	}
	return err
}

// onHangup reloads with each SIGHUP until ctx ends, and returns then.
func (r *reloader) onHangup(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			_ = r.reload() // it is logged
		}
	}
}

// hangups are the process's SIGHUPs until stop is called. One that comes while another is heeded is kept.
func hangups() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

func newReload() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the engine read its file again and change what is different",
		Long: `reload has a running engine read its file again, as SIGHUP does. Tunnels that did not change keep their SAs and
sessions, and so do WireGuard's of which the endpoint, keepalive, allowed_ips or preshared key changed. With a mistake in the file,
or a change that needs a restart, the engine goes on as before.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return warren.NewClient(socket).Reload(cmd.Context()) },
	}
	cmd.Flags().StringVar(&socket, "socket", warren.DefaultSocket(), "control socket of the engine")
	return cmd
}
