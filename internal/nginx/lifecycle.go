package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// State is how Start found nginx.
type State string

// The results of Start.
const (
	// Adopted: nginx was already running, with the configuration on disk.
	Adopted State = "Adopted"
	// Started: nginx was started with the last good configuration on disk.
	Started State = "Started"
	// Waiting: there is no configuration on disk yet; the first Apply starts nginx.
	Waiting State = "Waiting"
)

// Start adopts the nginx that runs in the directory, or starts one with the last good configuration there. After an
// error Apply may still be called.
func (s *Server) Start(ctx context.Context) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil && !s.proc.exited() {
		return Adopted, nil
	}
	var err error
	if s.current, err = os.ReadFile(s.path("nginx.conf")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Waiting, err
	}
	if s.doubtful, err = isFile(s.path(doubtName)); err != nil {
		return Waiting, err
	}
	pid, named := masterOf(s.path("nginx.pid"), s.path("nginx.conf"))
	if pid != 0 {
		return Adopted, s.adopt(ctx, pid)
	}
	if err := s.retireOrphans(ctx, s.sessionOnDisk(named)); err != nil {
		return Waiting, err
	}
	if s.current == nil {
		return Waiting, nil
	}
	if err := s.test(ctx, s.current); err != nil {
		return Waiting, fmt.Errorf("the configuration on disk is not used: %w", err)
	}
	if s.dictionary != nil {
		s.dictionary.board.begin(s.dictionary.epoch)
	}
	if err := s.spawn(ctx, s.current); err != nil {
		return Waiting, err
	}
	return Started, nil
}

// adopt takes over a running master. If its last reload was interrupted, or may still have a late effect, it is repeated: the
// configuration on disk was tested before it was put there.
func (s *Server) adopt(ctx context.Context, pid int) error {
	p, err := attach(pid)
	if err != nil {
		return err
	}
	s.log.Info("Adopting nginx", "reason", "AlreadyRunning", "pid", pid)
	s.use(p)
	s.adopted = true
	lost := s.dictionary != nil && s.dictionary.fresh && bytes.Contains(s.current, []byte(feedName)) // the board was removed
	if got, err := s.generation(ctx); err == nil && got == generationOf(s.current) && !lost && !s.doubtful {
		return s.renew(ctx)
	}
	return s.reload(ctx, s.current)
}

// renew replaces an nginx whose program was replaced on disk.
func (s *Server) renew(ctx context.Context) error {
	if !s.isReplaceable() {
		return nil
	}
	if err := s.test(ctx, s.current); err != nil {
		return fmt.Errorf("the nginx on disk does not take the configuration of the one that runs: %w", err)
	}
	return s.replace(ctx, s.current)
}

// Exited is closed when nginx exits other than by Stop. Start returns a new channel.
func (s *Server) Exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exited
}

// use makes p the supervised process.
func (s *Server) use(p *process) {
	if s.proc != nil {
		s.proc.release()
	}
	s.proc = p
	if err := s.rememberSession(p.session); err != nil {
		s.log.Error(err, "The session of nginx is not remembered", "session", p.session)
	}
	select {
	case <-s.exited:
		s.exited = make(chan struct{})
	default:
	}
	exited := s.exited
	s.watch.Go(func() {
		<-p.ended
		s.mu.Lock()
		defer s.mu.Unlock()
		if p.exited() && !s.closing && s.proc == p {
			s.log.Info("nginx ended", "reason", "Unexpected", "pid", p.pid)
			close(exited)
		}
	})
}

// Stop ends nginx: requests in flight may finish until ctx ends, then it is killed. The configuration is kept for the
// next Start.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	p := s.proc
	s.mu.Unlock()
	if p == nil || p.exited() {
		return nil
	}
	s.log.Info("Stopping nginx", "reason", "Stop", "pid", p.pid)
	if err := p.signal(unix.SIGQUIT); err != nil {
		return err
	}
	ended := p.wait(ctx)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	if err := s.endRetiring(late); err != nil {
		return err
	}
	if ended == nil {
		return nil
	}
	if err := p.signal(unix.SIGTERM); err != nil {
		return err
	}
	if p.wait(late) == nil {
		return nil
	}
	err := p.signal(unix.SIGKILL)
	<-p.done
	for _, pid := range workers(p.session) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return err
}

// Close releases the directory. An nginx that was not stopped keeps serving. The Server must not be used afterwards.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing = true
	if s.proc != nil {
		s.proc.release()
	}
	s.proc = nil
	s.mu.Unlock()
	s.leave()
	s.watch.Wait()
	s.mu.Lock()
	if s.dictionary != nil {
		_ = s.dictionary.board.close()
		s.dictionary = nil
	}
	s.mu.Unlock()
	if err := s.lock.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
