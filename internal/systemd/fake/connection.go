package fake

// Reconnect models a lost and reestablished connection as its user sees it: results of earlier jobs are forgotten, and a hint
// says that it is back. Units are not affected.
func (m *Manager) Reconnect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.results)
	m.hint()
}
