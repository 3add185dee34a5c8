BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0eee8c825d24');
CREATE TABLE api_tokens (
	user_id INTEGER, 
	service_id INTEGER, 
	id INTEGER NOT NULL, 
	hashed VARCHAR(255), 
	prefix VARCHAR(16), 
	client_id VARCHAR(255), 
	session_id VARCHAR(255), 
	created DATETIME, 
	expires_at DATETIME, 
	last_activity DATETIME, 
	note VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_api_tokens PRIMARY KEY (id), 
	CONSTRAINT fk_api_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_api_tokens_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT uq_api_tokens_hashed UNIQUE (hashed), 
	CONSTRAINT fk_api_tokens_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE
);
INSERT INTO "api_tokens" VALUES(NULL,1,1,'sha512:16384:4915c02e8ed7dcc2:a41f5783cb2068f245d6b356da85b3a1f6123117dba73c5d10f3bbfd7bf34f0db80f513dc9b4a9a42fb9d76e4ec73c486cb139f83671d6be88dcb3e0bdea18d5','toke','jupyterhub',NULL,'2026-12-01 03:52:48.660495',NULL,'2026-12-01 03:53:08.110372','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,2,'sha512:16384:4098e3c051eee93e:5acb47bc308b445f87014f2ce894d1c774b755f8854dcbc87a9a262534089e1e782fba80f6b1057738796f6cf0062e60e87530f5fcd88e78754269175431fd01','toke','jupyterhub',NULL,'2026-12-01 03:52:48.665979',NULL,'2026-12-01 03:53:08.586531','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,3,3,'sha512:16384:f9b607ffcd6e8514:e94bdd28681c5e98938f378850d6fe724d55db326afc73c22376614f358c3b96fdd61d5e0bd8619ce96d41da1798ba65b866254f4e5c478bd217b9ad3029366e','toke','jupyterhub',NULL,'2026-12-01 03:52:48.672818',NULL,'2026-12-01 03:53:08.226786','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(4,NULL,4,'sha512:16384:8170637cefb3ae15:d97aa53e7ed417c0b8c0fce650727332f795dfe08724440542021b504f000943f575e85aa6c4ab60ab90123d697231269116453f41d6660526615ab715eff959','toke','jupyterhub',NULL,'2026-12-01 03:52:48.683086',NULL,'2026-12-01 03:53:07.252814','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,5,'sha512:16384:7025df93d3f0ab91:6d2aba7e99c5b3c4974e3d88c9ce2694ecadfe15fa188696fc9379bee9ecca9199c6d6bdd1480b1ab3362f4d8ff3ddd59bd64e9a51f665d79936e7bf50f5f201','toke','jupyterhub',NULL,'2026-12-01 03:52:48.694125',NULL,'2026-12-01 03:53:07.498148','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(NULL,2,6,'sha512:16384:3ed6c520550fcbfe:9c09d819ea8ce36a3560ad5ac26eeebcbfad8bf207acedefe52c005d23f0102cfd001e4c27c7c0281dddf1cb77f7de6567c893ccc06a7a6a85b596e6aefc0eae','toke','jupyterhub',NULL,'2026-12-01 03:52:51.178277',NULL,'2026-12-01 03:53:08.393005','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(2,NULL,7,'sha512:16384:bd8f84efb91a7e00:2c73c8118d780bd93501e0139b4374db74c82cf78d4f5310312aa1221ebbadd3e572612c1e3687956dd1bd88c51e24ae69aea0ef9b1f33b878468f97328bae27','toke','jupyterhub',NULL,'2026-12-01 03:52:51.204054',NULL,'2026-12-01 03:53:07.798076','from config','["inherit"]');
INSERT INTO "api_tokens" VALUES(1,NULL,8,'sha512:1:4df62b7c1a5c7a0d:959f7b64144f4f53938a17e6f4cdf8470ab7babfab6a4b653a6af822952f9a9fcd47b390658084cfbee152f4bb415ffc33466b6219da6c74ba05aa9b00f42f1b','8e6c','jupyterhub',NULL,'2026-12-01 03:52:57.430649',NULL,'2026-12-01 03:52:58.919827','command-line generated','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,9,'sha512:1:fb2b14907d891a4c:111a78eb84388b8184c035fd1cf7792a03fdc07f460850eb1a2170724e7fbaa6c88524d808723dce14d6569b3c923cba2f08497870b95fadcc6396c0bcd1e57d','456c','jupyterhub',NULL,'2026-12-01 03:53:00.118666',NULL,'2026-12-01 03:53:00.214945','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,10,'sha512:1:8718c5480cb4ad39:eb895c2420b3f1ddec46fb17b6e2a26fda56e4b8f85971b25ce788db048b023c927e647bd096cd15b92580b418ae2a83bd5fb9f630d660643dfc7245afc6ef88','6966','jupyterhub',NULL,'2026-12-01 03:53:00.171272',NULL,'2026-12-01 03:53:05.069614','für den Scanner','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,11,'sha512:1:7de41ea8e2588824:70e91521da376ede25b88285971917364c7a5103ca6491f08eef1db8a009a542f9be1e4b9190cdef6faa2cf1d8be6be3af4a3ead447b13e1d8bb50ca0afc2894','9097','jupyterhub',NULL,'2026-12-01 03:53:00.247290',NULL,'2026-12-01 03:53:05.215110','by herself','["inherit"]');
INSERT INTO "api_tokens" VALUES(8,NULL,12,'sha512:1:54e59f314e7252ad:b5634490f3ecc399f8694388357bee3efdfff98f23cabff9f0505081472958c0ccb37a5871f6454e9a09e8ca9424f672e0355b19a9dc7fb7cbfa39d1b0cfae83','1470','jupyterhub',NULL,'2026-12-01 03:53:00.292290','2056-11-23 03:53:00.291720','2026-12-01 03:53:05.389734','a long time','["inherit"]');
INSERT INTO "api_tokens" VALUES(7,NULL,14,'sha512:1:11db23ea042c4d04:ac19c9d277274886ab2cf6355223f6c6a1cffd8c3ee4f9e51a7b04cbbd32800c4780bc1ff04c616861308a7b3baa4b1bd4ee282f60f5e98a0bcb734a8a82ef42','863d','jupyterhub',NULL,'2026-12-01 03:53:00.391546',NULL,'2026-12-01 03:53:05.616320','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(9,NULL,15,'sha512:1:3bb6c27abd05b28c:8b590e927a7d4a9c1d4a62a01355d05d30b26f5c3fb4b24d94d5a879f06056d07ee4f253207519cb0ed073b9d95d4013392c2b6ff5a7a540e7c079638de303e8','74f3','jupyterhub',NULL,'2026-12-01 03:53:00.455122',NULL,'2026-12-01 03:53:05.735650','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(9,NULL,16,'sha512:1:929b33c364279a4f:9549b7ba4a9bccdf1ea1bcf568cb217f1e58d0c8d753e14831172023a7364c37f74a9c3204c5de77e985b8b6aa89897c47196d024a9a79f21c4934c9b202aa7d','a23e','jupyterhub',NULL,'2026-12-01 03:53:00.515677',NULL,'2026-12-01 03:53:05.869098','without',NULL);
INSERT INTO "api_tokens" VALUES(3,NULL,17,'sha512:1:da1ba99c9b8fd618:c9c6d73fd249bd8ff9bd6a56a7b837ef8436d393191a9494319b76a8521dbcd3bac8a7b206b9618c9f9ce94c46daa6faed56de26b0b3b4587d1ca1c4b63a5c10','46d4','jupyterhub',NULL,'2026-12-01 03:53:00.584948',NULL,'2026-12-01 03:53:05.993970','Requested via api by user ada','["servers!user", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(3,NULL,18,'sha512:1:28c64a8bc8d40486:f2d47bfe7c8058c11659d41aa574165ab21d6e301832e8a4eeb5f2f79a4d8b9523ae213f4af0e3eb7abe02948b4a181f382378330ef7bc0baff1c6cc4a139357','7fd3','jupyterhub',NULL,'2026-12-01 03:53:00.624131',NULL,'2026-12-01 03:53:06.140343','Requested via api by user ada','["inherit"]');
INSERT INTO "api_tokens" VALUES(3,NULL,19,'sha512:1:186d3c654a61abe3:1d9bef81394331fc9a4d2b3dc5e3b44d1f193e1444a398a3f47c65b427600d377ecc206607138ba8c238dd3113a7aba6c8f1252be921cdd9c977c5073373276a','df59','jupyterhub',NULL,'2026-12-01 03:53:00.672094',NULL,'2026-12-01 03:53:06.255030','Requested via api by user ada','["self"]');
INSERT INTO "api_tokens" VALUES(1,NULL,20,'sha512:1:95218abd426fd5da:6c6dccd21446c417b6a47eb3b87fc1121b709e211d25878ef0d9a1b6fa000d9a2efb9717be76c20590c3c22b134daf89b808cb24bbaa64b77d781d90fa89068c','0c6d','jupyterhub',NULL,'2026-12-01 03:53:00.730695',NULL,'2026-12-01 03:53:06.342470','Requested via api','["admin:users!user=carol"]');
INSERT INTO "api_tokens" VALUES(7,NULL,21,'sha512:1:cb4785b7f6cfb1de:1270001729be65be18cc7c7703f3b3e7d71726c42030c15953dcee6a23c625959fbf888fdd735242875ba6d333e29cfd99b9fdfd98e374d1c53ab49a4076e69a','9b6e','jupyterhub',NULL,'2026-12-01 03:53:00.789308',NULL,'2026-12-01 03:53:06.509632','Requested via api by user ada','["admin:users", "list:users"]');
INSERT INTO "api_tokens" VALUES(5,NULL,22,'sha512:1:fb0052364b27834d:2e61f7fed41040d0e8780387285c8bfa187c4ac8405047fa09a1c12b32e1bc8ef16b33d07f71170c0379f7434f7d5485ef6f514e0232a7a2c1638512d5204750','bd54','jupyterhub',NULL,'2026-12-01 03:53:00.834711',NULL,'2026-12-01 03:53:06.618501','Requested via api by user ada','["list:users!group=students"]');
INSERT INTO "api_tokens" VALUES(2,NULL,23,'sha512:1:5b42e789c57a36cf:f71ecce804f1fec13de3f66cba988f5428bd360580dd3df0baf2b30df9001711c53bac4f4e3d37e142b4452294ce2f950eeeebb04b9a9a7982afaf9459a238d2','aa0c','jupyterhub',NULL,'2026-12-01 03:53:00.890181',NULL,'2026-12-01 03:53:06.727641','Requested via api by user ada','["self", "read:users!group=students"]');
INSERT INTO "api_tokens" VALUES(3,NULL,24,'sha512:1:e1a9e9378563dddc:97f80d56e4778a16572ce0537026916625e6225b634148b191a9458bd6090fba81d96d389f2ddd32ea641752c8eeaa1685bb75bdfed68822f998a0041651ad37','4e65','jupyterhub',NULL,'2026-12-01 03:53:00.999005',NULL,'2026-12-01 03:53:06.810062','Server at /user/carol/','["users:activity!user", "access:servers!server=carol/"]');
INSERT INTO "api_tokens" VALUES(8,NULL,25,'sha512:1:fbb196c30eb52f14:7126dc4bd6d78292cdedd6302c6ab3d281a1e9ddc1cac1091074bd5059a9376bc96d3f9dc7a59d50785db56a9e76c97b30f9f1f54ab1abf6f6564d203de193cb','9e5c','jupyterhub',NULL,'2026-12-01 03:53:01.517816',NULL,'2026-12-01 03:53:06.892465','Server at /user/dave/MyLab.2/','["users:activity!user", "access:servers!server=dave/MyLab.2"]');
INSERT INTO "api_tokens" VALUES(3,NULL,26,'sha512:1:1d338c5c2ab608ad:2ffa88d63e04d6c93f3969114fee5668af18f8f34188bb042ded9ff1f83bbc068005ea5dde1c5079f6329280158a4189853956d508c6ab13199cd329dee4006a','30Kc','jupyterhub-user-carol','25727431b6554a5bb95105dbf066231a','2026-12-01 03:53:02.607060','2026-12-15 03:53:02.606462','2026-12-01 03:53:06.952596','','["read:users:groups!user", "access:servers!server=carol/", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(1,NULL,27,'sha512:1:97387c1a141f9d45:c84b379aff44a7705cf729a8c8bc9f48aa76e12d4559460c2e4bb91bc8a17d7348c8ac99bb91fbaa96e4918fd789a78304c4f6afd650b956ec1ee7a350e89bc5','Kklr','jupyterhub-user-carol','45cef817393744ac9244b291c2a6cad0','2026-12-01 03:53:02.765534','2026-12-15 03:53:02.764965','2026-12-01 03:53:07.024467','','["read:users:groups!user", "access:servers!server=carol/", "read:users:name!user"]');
INSERT INTO "api_tokens" VALUES(8,NULL,28,'sha512:1:447c9175e12d01c8:7c8b0ea977827a0a02fa37d61ec962e6749d97f229502d475727911d21cfad6b4315d3ccde700e72ad7fe565fbe84bd5eb69c09bf0502e02e6f5a584ea18ac55','DECn','jupyterhub-user-dave-MyLab.2','b81e7955b9f34a4289a4e4f1bb30bea1','2026-12-01 03:53:02.895665','2026-12-15 03:53:02.895013','2026-12-01 03:53:07.079998','','["read:users:groups!user", "read:users:name!user", "access:servers!server=dave/MyLab.2"]');
INSERT INTO "api_tokens" VALUES(3,NULL,29,'sha512:1:fc241e9c739ae7d5:d554eefd43027e8c20b96cb3f7d19d9544f449beb78f1fe9bd6337d63ea5f7a105204f6848d61373f31d91698bb6c32589a034aa8d9e92c1215fad007293fbad','YtXv','service-announce','25727431b6554a5bb95105dbf066231a','2026-12-01 03:53:02.992099','2026-12-15 03:53:02.991452','2026-12-01 03:53:07.137047','','["read:users:groups!user", "access:services!service=announce", "read:users:name!user"]');
CREATE TABLE group_role_map (
	group_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_group_role_map PRIMARY KEY (group_id, role_id), 
	CONSTRAINT fk_group_role_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE, 
	CONSTRAINT fk_group_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "group_role_map" VALUES(1,7);
CREATE TABLE groups (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	properties TEXT, 
	CONSTRAINT pk_groups PRIMARY KEY (id), 
	CONSTRAINT uq_groups_name UNIQUE (name)
);
INSERT INTO "groups" VALUES(1,'students','{"limit": 3, "\u00fc": ["x", null]}');
INSERT INTO "groups" VALUES(2,'Übung 7','{}');
CREATE TABLE oauth_clients (
	id INTEGER NOT NULL, 
	identifier VARCHAR(255), 
	description VARCHAR(1023), 
	secret VARCHAR(255), 
	redirect_uri VARCHAR(1023), 
	allowed_scopes TEXT, 
	CONSTRAINT pk_oauth_clients PRIMARY KEY (id), 
	CONSTRAINT uq_oauth_clients_identifier UNIQUE (identifier)
);
INSERT INTO "oauth_clients" VALUES(1,'jupyterhub','JupyterHub','','','[]');
INSERT INTO "oauth_clients" VALUES(2,'service-announce','JupyterHub service announce','sha512:16384:b00a89b1bd3b7c33:aeb5104bfd2df7e0ab0b2d7b758039359da47037528c6cd1a278abebe20374e146f6271b084075765ca8b2eeaba64aed3be1fd22769c59248935c5ab915cb155','/services/announce/oauth_callback','["access:services!service=announce"]');
INSERT INTO "oauth_clients" VALUES(3,'jupyterhub-user-carol','Server at /user/carol/','sha512:16384:3c094f2e22f6af76:32cf0e750466d8847515820b10382f743040a949a1ba829cacd819fb54254a066816fcffc5bd8967ad3f5afaf7b5f3d3d6e0bf6a1ef1fd87217490f2e6293873','/user/carol/oauth_callback','["access:servers!server=carol/"]');
INSERT INTO "oauth_clients" VALUES(4,'jupyterhub-user-dave-MyLab.2','Server at /user/dave/MyLab.2/','sha512:16384:0f82089dfa666b7b:b2e0d1d5898a5205ff71d13e756075ff60309833b802d47fead670f524a5b1f6d7ea7acfc0ce2408836705b341dce3b6ee2a63aaf5a4f9ad4abf36c1671abd5a','/user/dave/MyLab.2/oauth_callback','["access:servers!server=dave/MyLab.2"]');
CREATE TABLE oauth_codes (
	id INTEGER NOT NULL, 
	client_id VARCHAR(255), 
	code VARCHAR(36), 
	expires_at INTEGER, 
	redirect_uri VARCHAR(1023), 
	session_id VARCHAR(255), 
	user_id INTEGER, 
	scopes TEXT, 
	CONSTRAINT pk_oauth_codes PRIMARY KEY (id), 
	CONSTRAINT fk_oauth_codes_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE, 
	CONSTRAINT fk_oauth_codes_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE roles (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	description VARCHAR(1023), 
	scopes TEXT, 
	CONSTRAINT pk_roles PRIMARY KEY (id), 
	CONSTRAINT uq_roles_name UNIQUE (name)
);
INSERT INTO "roles" VALUES(1,'user','Standard user privileges','["self"]');
INSERT INTO "roles" VALUES(2,'admin','Elevated privileges (can do anything)','["admin-ui", "admin:users", "admin:servers", "tokens", "admin:groups", "list:services", "read:services", "read:hub", "proxy", "shutdown", "access:services", "access:servers", "read:roles", "read:metrics"]');
INSERT INTO "roles" VALUES(3,'server','Post activity only','["users:activity!user", "access:servers!server"]');
INSERT INTO "roles" VALUES(4,'token','Token with same permissions as its owner','["inherit"]');
INSERT INTO "roles" VALUES(5,'keeping',NULL,'["list:users", "servers"]');
INSERT INTO "roles" VALUES(6,'grading','Sees the students','["list:users!group=students", "read:users!group=students"]');
INSERT INTO "roles" VALUES(7,'looking',NULL,'["read:users", "access:services!service=announce"]');
CREATE TABLE servers (
	id INTEGER NOT NULL, 
	proto VARCHAR(15), 
	ip VARCHAR(255), 
	port INTEGER, 
	base_url VARCHAR(255), 
	cookie_name VARCHAR(255), 
	CONSTRAINT pk_servers PRIMARY KEY (id)
);
INSERT INTO "servers" VALUES(3,'http','127.0.0.1',33827,'/services/announce/','service-announce');
INSERT INTO "servers" VALUES(4,'http','127.0.0.1',58361,'/user/carol/','cookie');
INSERT INTO "servers" VALUES(5,'http','127.0.0.1',55053,'/user/dave/MyLab.2/','cookie');
CREATE TABLE service_role_map (
	service_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_service_role_map PRIMARY KEY (service_id, role_id), 
	CONSTRAINT fk_service_role_map_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE, 
	CONSTRAINT fk_service_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "service_role_map" VALUES(3,5);
CREATE TABLE services (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	_server_id INTEGER, 
	pid INTEGER, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_services PRIMARY KEY (id), 
	CONSTRAINT uq_services_name UNIQUE (name), 
	CONSTRAINT fk_services__server_id_servers FOREIGN KEY(_server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_services_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "services" VALUES(1,'announce',0,3,NULL,'service-announce');
INSERT INTO "services" VALUES(2,'rotated',0,NULL,NULL,NULL);
INSERT INTO "services" VALUES(3,'keeper',0,NULL,NULL,NULL);
CREATE TABLE spawners (
	id INTEGER NOT NULL, 
	user_id INTEGER, 
	server_id INTEGER, 
	state TEXT, 
	name VARCHAR(255), 
	started DATETIME, 
	last_activity DATETIME, 
	user_options TEXT, 
	oauth_client_id VARCHAR(255), 
	CONSTRAINT pk_spawners PRIMARY KEY (id), 
	CONSTRAINT fk_spawners_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_spawners_server_id_servers FOREIGN KEY(server_id) REFERENCES servers (id) ON DELETE SET NULL, 
	CONSTRAINT fk_spawners_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO "spawners" VALUES(1,6,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(2,1,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(3,7,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(4,3,4,'{"pid": 22498}','','2026-12-01 03:53:01.109030','2026-12-01 03:53:01.109030','{"profile": "small"}','jupyterhub-user-carol');
INSERT INTO "spawners" VALUES(5,8,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(6,2,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(7,5,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(8,9,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(9,10,NULL,NULL,'',NULL,NULL,NULL,NULL);
INSERT INTO "spawners" VALUES(10,8,5,'{"pid": 22508}','MyLab.2','2026-12-01 03:53:01.661142','2026-12-01 03:53:01.661142','{"image": "gpu", "n": [1]}','jupyterhub-user-dave-MyLab.2');
INSERT INTO "spawners" VALUES(11,8,NULL,'{}','rest',NULL,'2026-12-01 03:53:02.427581','{"image": "cpu"}',NULL);
INSERT INTO "spawners" VALUES(12,4,NULL,NULL,'',NULL,NULL,NULL,NULL);
CREATE TABLE user_group_map (
	user_id INTEGER NOT NULL, 
	group_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_group_map PRIMARY KEY (user_id, group_id), 
	CONSTRAINT fk_user_group_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_group_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE
);
INSERT INTO "user_group_map" VALUES(2,1);
INSERT INTO "user_group_map" VALUES(3,1);
INSERT INTO "user_group_map" VALUES(8,2);
INSERT INTO "user_group_map" VALUES(10,2);
CREATE TABLE user_role_map (
	user_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	CONSTRAINT pk_user_role_map PRIMARY KEY (user_id, role_id), 
	CONSTRAINT fk_user_role_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE, 
	CONSTRAINT fk_user_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO "user_role_map" VALUES(1,2);
INSERT INTO "user_role_map" VALUES(1,1);
INSERT INTO "user_role_map" VALUES(2,1);
INSERT INTO "user_role_map" VALUES(3,1);
INSERT INTO "user_role_map" VALUES(5,1);
INSERT INTO "user_role_map" VALUES(5,6);
INSERT INTO "user_role_map" VALUES(6,1);
INSERT INTO "user_role_map" VALUES(7,1);
INSERT INTO "user_role_map" VALUES(8,1);
INSERT INTO "user_role_map" VALUES(9,1);
INSERT INTO "user_role_map" VALUES(10,1);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(255), 
	admin BOOLEAN, 
	created DATETIME, 
	last_activity DATETIME, 
	cookie_id VARCHAR(255) NOT NULL, 
	state TEXT, 
	encrypted_auth_state BLOB, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name), 
	CONSTRAINT uq_users_cookie_id UNIQUE (cookie_id)
);
INSERT INTO "users" VALUES(1,'ada',1,'2026-12-01 03:52:48.625797','2026-12-01 03:52:58.919827','a7f1ac80bc6f4a0484284b982d1e4016',NULL,X'6741414141414272446B536253797068503259696B6D6278494A5466306C4C5842736E444C323877494167306D354E555F4F4A67367A6D734471667431657A784651775848706B646D6A304933685A684341306139474B6B6B4E4548685F47573056344B68486B594A6F376533415943365151556561453D');
INSERT INTO "users" VALUES(2,'erin',0,'2026-12-01 03:52:48.633592','2026-12-01 03:53:06.727641','1c9dda8c945240af80996c3366c776c6',NULL,NULL);
INSERT INTO "users" VALUES(3,'carol',0,'2026-12-01 03:52:48.638100','2026-12-01 03:53:01.109030','2aafa8b699f244268da4eaeafda12910','{}',X'6741414141414272446B5362687A34546A4A324A324D434B6556313459536F435A674563433346325F33444D7970534A6D33524867423937325F426E4F706E444874664E62644373756F65524869614B423378326A316E62794F656969393336734A774E59735A35507A4F6653694F783146476E6358493D');
INSERT INTO "users" VALUES(4,'grace',0,'2026-12-01 03:52:48.677383','2026-12-01 03:53:07.252814','92ec2e8627524c4882f228dba1228a67',NULL,NULL);
INSERT INTO "users" VALUES(5,'heidi',0,'2026-12-01 03:52:48.701893','2026-12-01 03:53:06.618501','667831d9b96446b8afa68ba80b6a63e7',NULL,NULL);
INSERT INTO "users" VALUES(6,'fern',0,'2026-12-01 03:52:49.394389','2026-12-01 03:52:49.406394','a7dbd001b42c4ae5b58017e908f9d2a4',NULL,NULL);
INSERT INTO "users" VALUES(7,'bob',0,'2026-12-01 03:52:59.007504','2026-12-01 03:52:59.963891','029bb62cc3dc49c4bd829080b166c617',NULL,X'6741414141414272446B53624C714C513362635857376B624F615542784E4878503343464439624C4138584C59513071333355624A35676A54304148755265626479573736716736396452644A6D71535264576447714879536E66305847554C685166346C757836766E64784B57376F5F54484F6A6B673D');
INSERT INTO "users" VALUES(8,'dave',0,'2026-12-01 03:52:59.141259','2026-12-01 03:53:02.427581','ce138383438b4974bfda3141a468a5f5','{}',X'6741414141414272446B5363756B4B49386347573375617153515034713763666B54636C6B6237556558714C386338324C767A3352734B482D36504356634E377968373150672D625361764C6A317752423977756C6F317147344531544147632D414336332D515378785059665F49352D5147383464553D');
INSERT INTO "users" VALUES(9,'mallory',0,'2026-12-01 03:52:59.305048','2026-12-01 03:53:05.735650','a377dd17a1144378a1424578ec86ef4b',NULL,NULL);
INSERT INTO "users" VALUES(10,'zoë',0,'2026-12-01 03:52:59.369762',NULL,'d5f2fd1d7f0f4fb0986a4b685140e36a',NULL,NULL);
CREATE TABLE users_info (
	id INTEGER NOT NULL, 
	username VARCHAR(128) NOT NULL, 
	password BLOB NOT NULL, 
	is_authorized BOOLEAN, 
	login_email_sent BOOLEAN, 
	email VARCHAR(128), 
	has_2fa BOOLEAN, 
	otp_secret VARCHAR(16), 
	CONSTRAINT pk_users_info PRIMARY KEY (id)
);
CREATE INDEX ix_api_tokens_prefix ON api_tokens (prefix);
COMMIT;
