/* The text of --display vnc=..., the password and the certificate. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "display/vnc_impl.h"

/* --- the option ------------------------------------------------------------------------------------- */

static int copy_value(char *to, size_t size, const char *value, size_t len, const char *what,
                      struct error *err)
{
    if (!len || len >= size)
        return error_set(err, EINVAL, "the %s is %s; write %s=PATH", what, len ? "too long" : "missing",
                         what);
    memcpy(to, value, len);
    to[len] = '\0';
    return 0;
}

/* "N" or "HOST:N" in text[0..len). */
static int parse_address(struct vnc_config *config, const char *text, size_t len, struct error *err)
{
    const char *colon = memrchr(text, ':', len), *number = colon ? colon + 1 : text;
    size_t digits = len - (size_t)(number - text), host = colon ? (size_t)(colon - text) : 0;
    char *end;
    unsigned long n = strtoul(number, &end, 10);
    if (!digits || digits > 5 || number[0] < '0' || number[0] > '9' || end != number + digits ||
        n > VNC_MAX_DISPLAY)
        return error_set(err, EINVAL,
                         "'%.*s' has no display number; write vnc=N or vnc=HOST:N with N from 0 to %u (port "
                         "5900 + N)",
                         (int)MIN(len, 80u), text, VNC_MAX_DISPLAY);
    config->display = (unsigned)n;
    if (!colon)
        return 0;
    if (host > 1 && text[0] == '[' && text[host - 1] == ']') {
        text++;
        host -= 2;
    }
    if (!host || host >= sizeof config->host)
        return error_set(err, EINVAL,
                         "the host is %s; leave it out for this computer alone, or write 0.0.0.0 for all",
                         host ? "too long" : "missing");
    memcpy(config->host, text, host);
    config->host[host] = '\0';
    return 0;
}

int vnc_config_parse(struct vnc_config *config, const char *text, struct error *err)
{
    *config = (struct vnc_config){0};
    size_t len = strcspn(text, ",");
    int rc = parse_address(config, text, len, err);
    for (text += len; !rc && *text; text += len) {
        text++;
        len = strcspn(text, ",");
        if (len >= 14 && !strncmp(text, "password-file=", 14))
            rc = copy_value(config->password_file, sizeof config->password_file, text + 14, len - 14,
                            "password-file", err);
        else if (len >= 4 && !strncmp(text, "tls=", 4))
            rc = copy_value(config->tls_dir, sizeof config->tls_dir, text + 4, len - 4, "tls", err);
        else
            rc = error_set(err, EINVAL,
                           "'%.*s' is no setting of a VNC server; password-file=FILE and tls=DIR "
                           "are",
                           (int)MIN(len, 80u), text);
    }
    return rc;
}

/* --- secrets ---------------------------------------------------------------------------------------- */

static int load_password(struct vnc *vnc, const char *path, struct error *err)
{
    char text[VNC_MAX_PASSWORD + 2] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    int code = errno;
    struct stat st = {0};
    if (fd >= 0 && n >= 0)
        n = fstat(fd, &st) < 0 ? -1 : n;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return error_set(err, code, "cannot read the VNC password from '%s': %s", path, strerror(code));
    size_t len = strcspn(text, "\r\n");
    int rc = 0;
    if (!len || len > VNC_MAX_PASSWORD || strlen(text) != (size_t)n)
        rc = error_set(err, EINVAL, "'%s' has no password of 1 to %d characters on its first line", path,
                       VNC_MAX_PASSWORD);
    else
        memcpy(vnc->password, text, len);
    explicit_bzero(text, sizeof text);
    if (!rc && st.st_mode & 077)
        log_warn(vnc->log, "other users of this computer may read the VNC password in %s; chmod 600 it",
                 path);
    if (!rc && len > 8 && !vnc->has_tls)
        log_warn(vnc->log, "without TLS, VNC looks at a password's first 8 characters only");
    vnc->has_password = !rc;
    return rc;
}

static int load_certificate(struct vnc *vnc, const char *dir, struct error *err)
{
    char certificate[4200], key[4200];
    snprintf(certificate, sizeof certificate, "%s/server-cert.pem", dir);
    snprintf(key, sizeof key, "%s/server-key.pem", dir);
    int rc = gnutls_certificate_allocate_credentials(&vnc->credentials);
    if (rc < 0)
        return error_set(err, ENOMEM, "no memory for the VNC server's certificate");
    vnc->has_tls = true;
    rc = gnutls_certificate_set_x509_key_file(vnc->credentials, certificate, key, GNUTLS_X509_FMT_PEM);
    if (rc < 0)
        return error_set(err, EINVAL,
                         "cannot use the certificate server-cert.pem with server-key.pem in '%s': %s", dir,
                         gnutls_strerror(rc));
    return 0;
}

int vnc_load_secrets(struct vnc *vnc, const struct vnc_config *config, struct error *err)
{
    int rc = config->tls_dir[0] ? load_certificate(vnc, config->tls_dir, err) : 0;
    if (!rc && config->password_file[0])
        rc = load_password(vnc, config->password_file, err);
    return rc;
}
