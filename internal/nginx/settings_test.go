package nginx

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSettings(t *testing.T) {
	tests := []struct {
		change func(*Settings)
		want   string
	}{
		{func(s *Settings) { s.Dir = "relative" }, "absolute path"},
		{func(s *Settings) { s.Dir = "/a\"; b" }, "absolute path"},
		{func(s *Settings) { s.Dir = "/" + strings.Repeat("a", 100) }, "shorter path"},
		{func(s *Settings) { s.Listen = nil }, "no address"},
		{func(s *Settings) { s.Listen = []string{"80; }"} }, "listen"},
		{func(s *Settings) { s.Listen = []string{"host:80"} }, "listen"},
		{func(s *Settings) { s.Listen = []string{"0"} }, "listen"},
		{func(s *Settings) { s.StatusListen = s.Listen[0] }, "status listen"},
		{func(s *Settings) { s.Domain = "a b" }, "domain"},
		{func(s *Settings) { s.AccessLog = "access.log" }, "access log"},
		{func(s *Settings) { s.AccessLog = "syslog:server=x;" }, "access log"},
		{func(s *Settings) { s.ErrorLog = "off" }, "error log"},
		{func(s *Settings) { s.Workers = -1 }, "workers"},
		{func(s *Settings) { s.User = "a b" }, "user"},
		{func(s *Settings) { s.Timeout = -1 }, "timeouts"},
		{func(s *Settings) { s.BodySize = -2 }, "body size"},
		{func(s *Settings) { s.TrustedProxies = []string{"10.0.0.0/8", "10.0.0.0/8; }"} }, "trusted proxies: want a network"},
		{func(s *Settings) { s.TrustedProxies = []string{"proxy.example.com"} }, "trusted proxies: want a network"},
	}
	for _, tc := range tests {
		s := testSettings
		s.Listen = append([]string{}, s.Listen...)
		tc.change(&s)
		_, err := s.check()
		require.ErrorContains(t, err, tc.want)
	}
	s := testSettings
	s.Listen = []string{"80", "[::]:80", "*:81", "127.0.0.1:8080", "80"}
	s, err := s.check()
	require.NoError(t, err)
	require.Equal(t, []string{"*:81", "127.0.0.1:8080", "80", "[::]:80"}, s.Listen)
}
