package client

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An https:// endpoint is one whose certificate is checked, and to which a client certificate is shown.
func TestEndpointsWithTLS(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.URL.Path + " by " + r.TLS.PeerCertificates[0].Subject.Organization[0]))
	})
	server := httptest.NewUnstartedServer(answer)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	trusting := &tls.Config{RootCAs: roots, Certificates: server.TLS.Certificates}

	for name, tt := range map[string]struct {
		via      Transport
		endpoint string
		fails    string
	}{
		"trusted":                 {Transport{TLS: trusting}, server.URL, ""},
		"after one that is down":  {Transport{TLS: trusting}, "unix:///nowhere.sock," + server.URL, ""},
		"unknown authority":       {Transport{}, server.URL, "certificate signed by unknown authority"},
		"no client certificate":   {Transport{TLS: &tls.Config{RootCAs: roots}}, server.URL, "tls: certificate required"},
		"certificate of another":  {Transport{TLS: &tls.Config{RootCAs: roots, ServerName: "other.test"}}, server.URL, "not other.test"},
		"no TLS where it must be": {Transport{TLS: trusting}, "http" + server.URL[len("https"):], "400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := NewVia(tt.via, tt.endpoint, 5*time.Second, "test")
			require.NoError(t, err)
			defer c.Close()
			data, err := c.Do(t.Context(), Request{Method: http.MethodGet, Path: "/hello"})
			if tt.fails != "" {
				require.ErrorContains(t, err, tt.fails)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "/hello by Acme Co", string(data))
		})
	}
}
