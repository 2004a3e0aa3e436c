/* What a session is called in the log: "s3f9k2a". One grep tells its life; chance alone keeps two of a program apart. */
#ifndef POSTERN_NET_SESSION_ID_H
#define POSTERN_NET_SESSION_ID_H

enum { SESSION_ID_TEXT = 8 }; /* with its NUL */

/* side: 's' for one that we serve, 'o' for one that we opened. */
void session_id_make(char side, char out[SESSION_ID_TEXT]);

#endif
