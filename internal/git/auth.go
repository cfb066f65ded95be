package git

import "strings"

// readToken returns user:password from a file that has that or a token: hosts take a token as the password of any user.
func readToken(path string) (string, error) {
	data, err := readSecret(path, "auth.tokenFile")
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if strings.ContainsAny(token, "\r\n\x00") {
		return "", fail(AuthFailed, "auth.tokenFile: %s has several lines: write the token in one", path)
	}
	if !strings.Contains(token, ":") {
		token = "git:" + token
	}
	return token, nil
}
