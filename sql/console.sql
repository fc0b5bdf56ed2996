-- vibevideo in psql: views that fit 80 columns, and shortcuts.
--
--   \i /usr/share/postgresql/15/vibevideo/console.sql
--
-- or "make console".  For viewers, operators and the owner; it changes nothing but
-- this session.
\set QUIET on
\pset linestyle unicode
\pset null ''
\pset pager off
\pset format wrapped
\set now 'TABLE vibevideo.now;'
\set today 'TABLE vibevideo.today;'
\set inbox 'TABLE vibevideo.inbox;'
\set overview 'TABLE vibevideo.overview;'
\set errors 'TABLE vibevideo.errors;'
\set users 'TABLE vibevideo.users;'
\set check 'SELECT * FROM vibevideo.show_check();'
\set audit 'SELECT * FROM vibevideo.show_audit();'
\set jobs 'SELECT * FROM vibevideo.show_jobs'
\set job 'SELECT * FROM vibevideo.show_job'
\set plan 'SELECT * FROM vibevideo.show_plan'
\unset QUIET
\echo
\echo '  :now              the oldest unfinished jobs, and why they wait'
\echo '  :today            the day so far, by model'
\echo '  :inbox            what needs you, and what to do about it'
\echo '  :overview         how things are'
\echo '  :errors           what went wrong in the last day'
\echo '  :users            who has the most in work, and has spent the most'
\echo '  :check            what is not in order, as far as can be seen from here'
\echo '  :audit            the last acts of operators'
\echo
\echo '  :job (1);                                      all there is to know of a job'
\echo '  :jobs (\'{"state": "failed"}\');                 jobs that match a filter'
\echo '  :plan (\'retry\', \'{"class": "provider"}\');      what an act on many would do'
\echo '  TABLE vibevideo.now; \\watch 2                  repeats the first one'
\echo
TABLE vibevideo.inbox;
